"""Which tokens of a batch a step keeps: each is scored, and the highest stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from tokenseek_common import InputError
from tokenseek_core._batch import Batch
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._scores import perturbed, random_scores
from tokenseek_core._selection import Selection, Stratum, select, strata, supervised_first
from tokenseek_core._selectors import NAMED, sampling_log_p
from tokenseek_core._signals import Signals


def keep(
    signals: Signals, batch: Batch, config: TokenSeekConfig
) -> tuple[Selection, Float[Tensor, "b s"]]:
    """Score every token, and choose those to keep."""
    scores, log_p = drawn(signals, batch.counts.lengths, config)
    ranked = scores
    if config.answer_ratio is None:
        least = config.min_supervised
        ranked = supervised_first(scores, batch.supervised & batch.valid, least)
    if batch.read is not None:
        highest = torch.finfo(ranked.dtype).max
        ranked = ranked.clamp(max=highest).masked_fill(batch.read, math.inf)
    selection = select(ranked, strata(batch, config), log_p)
    if batch.read is not None:  # which is no draw
        importance = selection.importance.masked_fill(selection.rows(batch.read), 1)
        selection = replace(selection, importance=importance)
    if batch.source is not None:
        assert signals.source is not None
        source, of_source = drawn(signals.source, batch.source.lengths, config)
        stratum = Stratum(signals.source.valid, batch.source.lengths, config.ratio)
        selection = replace(selection, source=select(source, [stratum], of_source))
    return selection, scores


def drawn(
    signals: Signals, lengths: Sequence[int], config: TokenSeekConfig
) -> tuple[Float[Tensor, "b s"], Float[Tensor, "b s"] | None]:
    """Scores of all tokens; where they are a draw, the logarithms that it was made of."""
    if config.selector != "sampled":
        return score(signals, lengths, config), None
    log_p = sampling_log_p(signals)
    return perturbed(log_p, signals.valid, lengths), log_p


def score(
    signals: Signals, lengths: Sequence[int], config: TokenSeekConfig
) -> Float[Tensor, "b s"]:
    """Score every token as the config's selector does.

    Args:
        signals: The evidence.
        lengths: Tokens of each instance that are not padding.
        config: The settings.

    Raises:
        InputError: A callable returned something else than one finite score for each token.
    """
    if config.selector == "random":
        return random_scores(signals.valid, lengths)
    if not callable(config.selector):
        return NAMED[config.selector](signals, config)
    scores = config.selector(signals)
    if scores.shape != signals.valid.shape:
        raise InputError(
            f"selector (scores of shape {list(scores.shape)}) must return one score for each "
            f"token; return shape {list(signals.valid.shape)}"
        )
    if not (scores.isfinite() | ~signals.valid).all():
        raise InputError("selector (NaN or infinite scores) must return finite scores; clamp them")
    return scores.detach().float()

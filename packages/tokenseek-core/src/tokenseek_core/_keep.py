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
from tokenseek_core._selection import (
    Selection,
    Stratum,
    select,
    strata,
    supervised_first,
    together,
)
from tokenseek_core._selectors import NAMED, sampling_log_p
from tokenseek_core._signals import Signals


def keep(
    signals: Signals, batch: Batch, config: TokenSeekConfig
) -> tuple[Selection, Float[Tensor, "b s"]]:
    """Score every token, and choose those to keep; of each sequence where rows hold several."""
    scores, log_p = drawn(signals, batch.counts.lengths, config)
    sequences = batch.sequences
    if sequences is None:
        selection = chosen(scores, log_p, batch, config)
    else:
        apart = None if log_p is None else sequences.apart(log_p)
        of_each = chosen(sequences.apart(scores), apart, batch.apart(), config)
        selection = together(of_each, sequences)
    if batch.read is not None:  # which is no draw
        importance = selection.importance.masked_fill(selection.rows(batch.read), 1)
        selection = replace(selection, importance=importance)
    if batch.source is not None:
        assert signals.source is not None
        source, of_source = drawn(signals.source, batch.source.lengths, config)
        stratum = Stratum(signals.source.valid, batch.source.lengths, config.ratio)
        selection = replace(selection, source=select(source, [stratum], of_source))
    return selection, scores


def chosen(
    scores: Float[Tensor, "b s"],
    log_p: Float[Tensor, "b s"] | None,
    batch: Batch,
    config: TokenSeekConfig,
) -> Selection:
    """Choose the tokens to keep of each row, given their scores."""
    if config.answer_ratio is None:
        supervised = batch.supervised & batch.valid
        scores = supervised_first(scores, supervised, config.min_supervised)
    if batch.read is not None:
        highest = torch.finfo(scores.dtype).max
        scores = scores.clamp(max=highest).masked_fill(batch.read, math.inf)
    return select(scores, strata(batch, config), log_p)


def drawn(
    signals: Signals, lengths: Sequence[int], config: TokenSeekConfig
) -> tuple[Float[Tensor, "b s"], Float[Tensor, "b s"] | None]:
    """Scores of all tokens; where they are a draw, the logarithms that it was made of."""
    if config.selector != "sampled":
        return score(signals, lengths, config), None
    log_p = sampling_log_p(signals)
    return perturbed(log_p, uniform(signals, lengths)), log_p


def score(
    signals: Signals, lengths: Sequence[int], config: TokenSeekConfig
) -> Float[Tensor, "b s"]:
    """Score every token as the config's selector does.

    Args:
        signals: The evidence.
        lengths: Tokens of each row that are not padding.
        config: The settings.

    Raises:
        InputError: A callable returned something else than one finite score for each token.
    """
    if config.selector == "random":
        return uniform(signals, lengths)
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


def uniform(signals: Signals, lengths: Sequence[int]) -> Float[Tensor, "b s"]:
    """Draw uniform scores, seeded for each instance."""
    sequences = signals.sequences
    if sequences is None:
        return random_scores(signals.valid, lengths)
    return sequences.together(random_scores(sequences.valid, sequences.counts.lengths))

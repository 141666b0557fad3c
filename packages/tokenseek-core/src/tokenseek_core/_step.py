"""One training step: record, score, select, replay, loss."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutput

from tokenseek_common import InputError
from tokenseek_core._anatomy import Anatomy
from tokenseek_core._batch import Batch
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._loss import restart_loss
from tokenseek_core._record import record_pass
from tokenseek_core._replay import replay_pass
from tokenseek_core._scores import random_scores, tokenseek_scores
from tokenseek_core._selection import Selection, select
from tokenseek_core._signals import MIN_CHUNK, Signals


@dataclass(frozen=True)
class StepReport:
    """What the last step kept.

    Args:
        indices: Slots of the kept rows, [b, k].
        active: False for surplus rows of a ragged batch, [b, k].
        scores: Importance of every token, [b, s].
        supervised_share: Share of the kept rows that have a target.
        kept_bytes: Bytes of the recorded keys and values.
    """

    indices: Int[Tensor, "b k"]
    active: Bool[Tensor, "b k"]
    scores: Float[Tensor, "b s"]
    supervised_share: Float[Tensor, ""]
    kept_bytes: int


def training_step(
    anatomy: Anatomy, batch: Batch, config: TokenSeekConfig
) -> tuple[CausalLMOutput, StepReport]:
    """Run both passes; `output.loss` carries the gradient of the kept rows.

    Returns:
        The model's output for the kept rows with its loss, and what was kept.
    """
    recorded = record_pass(anatomy, batch, scored=config.selector != "random")
    if recorded.block_input is None:
        scores = random_scores(batch.valid)
    else:
        if recorded.record.context is None:
            raise InputError(
                f"model ({type(anatomy.model).__name__}) must attend in its last block; "
                'use selector="random"'
            )
        signals = Signals(
            input_ids=batch.rowwise.get("input_ids"),
            labels=batch.labels,
            targets=batch.targets,
            valid=batch.valid,
            context=recorded.record.context,
            block_input=recorded.block_input,
            final=recorded.final,
            anatomy=anatomy,
            chunk=max(MIN_CHUNK, int(config.ratio * batch.valid.numel())),
        )
        scores = score(signals, config)
        del signals
    record = recorded.record
    del recorded  # the last block's graph goes before the replay builds its own
    selection = select(
        scores,
        batch.valid,
        batch.supervised,
        ratio=config.ratio,
        min_supervised=config.min_supervised,
    )
    output = replay_pass(anatomy, batch, record, selection)
    assert output.logits is not None
    targets = selection.rows(batch.targets)
    loss = restart_loss(
        output.logits, targets, selection.active, batch.supervised.sum(1), batch.num_items
    )
    report = StepReport(
        indices=selection.indices,
        active=selection.active,
        scores=scores,
        supervised_share=supervised_share(batch, selection),
        kept_bytes=record.kept_bytes,
    )
    return dataclasses.replace(output, loss=loss), report


def score(signals: Signals, config: TokenSeekConfig) -> Float[Tensor, "b s"]:
    """Score every token as the config's selector does.

    Raises:
        InputError: A callable returned something else than one finite score for each token.
    """
    if not callable(config.selector):
        return tokenseek_scores(
            signals.context, signals.gradient, signals.valid, alpha=config.alpha, beta=config.beta
        )
    scores = config.selector(signals)
    if scores.shape != signals.valid.shape:
        raise InputError(
            f"selector (scores of shape {list(scores.shape)}) must return one score for each "
            f"token; return shape {list(signals.valid.shape)}"
        )
    if not scores[signals.valid].isfinite().all():
        raise InputError("selector (NaN or infinite scores) must return finite scores; clamp them")
    return scores.detach().float()


def supervised_share(batch: Batch, selection: Selection) -> Float[Tensor, ""]:
    """Share of the kept rows that have a target."""
    kept = selection.rows(batch.supervised) & selection.active
    return kept.sum() / selection.active.sum().to(torch.float32)

"""Steps for TRL's trainers, which make their loss of the log-probability of each token.

They put a forward on the model that takes `fused_lm_head`. Called with it and with labels, that
gives log-probabilities [b, s - 1], and what is logged beside them, from the final hidden states and
the head's table. Here its head is given the final hidden states of the rows that a step kept.

Shapes: `b` batch, `s` sequence, `k` kept rows, `m` rows, `d` hidden size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers.utils.generic import ModelOutput

from tokenseek_common import InputError
from tokenseek_core._anatomy import Anatomy, StandIn, apply, replaced
from tokenseek_core._batch import Batch
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._forwards import FUSED
from tokenseek_core._keep import keep
from tokenseek_core._loss import total_items
from tokenseek_core._record import Record
from tokenseek_core._replay import replay_pass
from tokenseek_core._selection import Selection
from tokenseek_core._signals import Signals
from tokenseek_core._step import (
    StepReport,
    inject_adjoint,
    kept_targets,
    kept_weights,
    record_signals,
    report,
)


def fused_step(
    anatomy: Anatomy, batch: Batch, config: TokenSeekConfig, *, shifted: bool
) -> tuple[ModelOutput, StepReport]:
    """Run both passes; give each token the numbers that TRL's own forward gives it.

    Where every token that carries the loss is kept, each log-probability has its own gradient, for
    any loss. Elsewhere they have the step's together, for their mean alone. Under "restart" the
    numbers of a kept token are then multiplied by how many it stands for; under "inject" they are
    those of all tokens, for which the head runs once more, without a gradient.

    Args:
        anatomy: The model's parts, whose forward takes `fused_lm_head`.
        batch: The step's batch.
        config: What to keep.
        shifted: Whether the targets came shifted; where not, the last row has none.

    Returns:
        The output, with numbers [b, s], or [b, s - 1] where not `shifted`, and what was kept.

    Raises:
        InputError: The trainer's loss is of another kind, and not all its tokens are kept.
    """
    signals, record, _ = record_signals(anatomy, batch, config)
    batch = batch.to(signals.valid.device)
    selection, scores = keep(signals, batch, config)
    if config.gradient == "inject":
        found, loss = of_all_rows(anatomy, batch, config, record, selection, signals)
        numbers = of_rows(found)
    else:
        dtype = signals.head.dtype
        del signals  # the last block's graph goes before the replay builds its own
        found = of_kept_rows(anatomy, batch, record, selection)
        numbers = at_slots(of_rows(found), batch, config, selection, dtype)
        loss = -numbers["log_probs"].sum()
    if not config.keeps_every_loss:
        if "mean_logits" in numbers:  # logged beside losses of pairs
            raise other_loss()
        log_probs = numbers["log_probs"].detach()
        numbers["log_probs"] = apply(Together, loss, log_probs, batch.supervised)

    end = None if shifted else -1
    total = total_items(batch.supervised.sum(1), batch.num_items, loss.dtype)
    output = type(found)(
        loss=-numbers["log_probs"].sum() / total,
        label_mask=batch.supervised[:, :end],
        **{name: of_row[:, :end] for name, of_row in numbers.items()},
    )
    return output, report(batch, record, selection, scores)


def of_all_rows(
    anatomy: Anatomy,
    batch: Batch,
    config: TokenSeekConfig,
    record: Record,
    selection: Selection,
    signals: Signals,
) -> tuple[ModelOutput, Float[Tensor, ""]]:
    """Inject the adjoint; what TRL's head says of the recorded rows, and the loss, a sum."""
    summed = replace(batch, num_items=1)  # the trainer divides
    loss = inject_adjoint(anatomy, summed, config, record, selection, signals).loss
    assert loss is not None
    with torch.no_grad():
        return fused_head(anatomy, signals.final.detach(), batch.targets), loss


def of_kept_rows(
    anatomy: Anatomy, batch: Batch, record: Record, selection: Selection
) -> ModelOutput:
    """Replay the kept rows; what TRL's head says of them."""
    replayed = replay_pass(anatomy, batch, record, selection)
    return fused_head(anatomy, replayed.hidden, kept_targets(batch, selection))


def at_slots(
    numbers: dict[str, Shaped[Tensor, "b k"]],
    batch: Batch,
    config: TokenSeekConfig,
    selection: Selection,
    dtype: torch.dtype,
) -> dict[str, Shaped[Tensor, "b s"]]:
    """The numbers of the kept rows in their places, times how many each row stands for."""
    if not config.keeps_every_loss:
        weights = kept_weights(batch, selection, dtype, num_items=1)
        numbers = {name: of_row * weights for name, of_row in numbers.items()}
    return {
        name: of_row.new_zeros(batch.labels.shape).scatter(1, selection.indices, of_row)
        for name, of_row in numbers.items()
    }


def fused_head(
    anatomy: Anatomy, hidden: Float[Tensor, "b m d"], targets: Int[Tensor, "b m"]
) -> ModelOutput:
    """What TRL's forward makes of final hidden states; a row without a target has zeros."""
    with replaced(anatomy.backbone, "_call_impl", StandIn(hidden)):
        found: ModelOutput = anatomy.forward(
            inputs_embeds=hidden, shift_labels=targets, **{FUSED: True}
        )
    return found


def of_rows(found: ModelOutput) -> dict[str, Shaped[Tensor, "b m"]]:
    """The numbers of each row, by name."""
    return {name: x for name, x in found.items() if x.ndim == 2 and name != "label_mask"}


def other_loss() -> InputError:
    """Say that not all tokens are kept that the trainer's loss is made of."""
    return InputError(
        "loss (of a trainer of TRL) must be the mean of the tokens' where not all that carry it "
        "are kept; take TokenSeekConfig.answers(), which keeps them, or learn from pairs by "
        "tokenseek_core.preference.train_preferences"
    )


class Together(torch.autograd.Function):
    """Log-probabilities of tokens that have no gradient each, but that of a loss: their sum's."""

    @staticmethod
    def forward(
        ctx: Any,
        loss: Float[Tensor, ""],
        log_probs: Float[Tensor, "b s"],
        supervised: Bool[Tensor, "b s"],
    ) -> Float[Tensor, "b s"]:
        """Give the log-probabilities."""
        ctx.save_for_backward(loss, supervised)
        return log_probs.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Float[Tensor, "b s"]) -> tuple[Tensor, None, None]:
        """Hand on what a token counts.

        Raises:
            InputError: Tokens count differently.
        """
        loss, supervised = ctx.saved_tensors
        counts = upstream[supervised]
        if (counts != counts[:1]).any():
            raise other_loss()
        return -counts[:1].sum().to(loss), None, None

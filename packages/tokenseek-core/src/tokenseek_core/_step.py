"""One training step: record, score, select, replay, loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers.modeling_outputs import CausalLMOutput
from transformers.utils.generic import ModelOutput

from tokenseek_common import InputError
from tokenseek_core._anatomy import Anatomy, apply
from tokenseek_core._batch import Batch
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._head import Head, count_rows, head_losses
from tokenseek_core._keep import keep
from tokenseek_core._loss import IGNORE_INDEX, restart_weights, row_losses, total_items
from tokenseek_core._record import Record, record_pass
from tokenseek_core._replay import replay_pass
from tokenseek_core._selection import Selection
from tokenseek_core._selectors import NO_CONTEXT, NO_GRADIENT
from tokenseek_core._signals import Signals, SourceSignals
from tokenseek_core._tied import HeadGradient


@dataclass(frozen=True)
class StepReport:
    """What the last step kept.

    Args:
        indices: Slots of the kept rows, [b, k].
        active: False for surplus rows of a ragged batch, [b, k].
        scores: Importance of every token, [b, s].
        importance: Weight of each kept row where they were sampled, else 1, [b, k].
        supervised_share: Share of the kept rows that have a target.
        kept_bytes: Bytes of the recorded keys and values, wherever they lie.
        labels: Labels as the model was given them, not shifted, [b, s].
        valid: Tokens that are not padding, [b, s].
        input_ids: Tokens, [b, s]; None where the model was called with embeddings.
        source: What each token that an encoder reads stands for, 0 where it is not kept, [b, n];
            None where there is no encoder in front.
    """

    indices: Int[Tensor, "b k"]
    active: Bool[Tensor, "b k"]
    scores: Float[Tensor, "b s"]
    importance: Float[Tensor, "b k"]
    supervised_share: Float[Tensor, ""]
    kept_bytes: int
    labels: Int[Tensor, "b s"]
    valid: Bool[Tensor, "b s"]
    input_ids: Int[Tensor, "b s"] | None = None
    source: Float[Tensor, "b n"] | None = None


def training_step(
    anatomy: Anatomy, batch: Batch, config: TokenSeekConfig
) -> tuple[ModelOutput, StepReport]:
    """Run both passes; `output.loss` carries the gradient of the kept rows.

    What it costs, in floating-point operations: with P those of a block's products with its weights
    for all rows, A those of its attention and H those of the head for the rows that have a target,
    in one forward pass, L blocks, and k the share of the rows that is kept,

        L (P + A)                        the record
        + L k (3 P + 3.5 A)              the replay, forward and back
        + 3 H'                           the head for those of H that are kept; 4 without logits,
                                         which are made again for the table's gradient
        + P + 3 A + 2 H                  scores that look at the gradient and the attention in the
                                         last block: back by the input alone

    and under "inject", whose last E blocks stay exact,

        L (P + A)                        the record
        + (L - E) k (3 P + 3.5 A)        the replay
        + E (5 P + 7 A)                  exact blocks: made again, and back for the adjoint (the
                                         input's gradient alone); made again, and back
        + 4 H                            logits and their gradient by the rows; logits again, since
                                         the table's gradient must not lie meanwhile, and that one

    Where the kept rows attend in chunks, each chunk attends once more in the backward pass, but to
    the keys up to its last row alone: 4.5 A times the share of the keys that are left. So does what
    feeds forward in tiles in an exact block.

    The host waits for the device once, for the numbers in :class:`Counts`; once more where rows
    attend in chunks, for their places.

    Returns:
        The loss, with the logits of the kept rows where there are any, and what was kept. Where
        the head reads all rows, the model's own output.
    """
    signals, record, given = record_signals(anatomy, batch, config)
    batch = batch.to(signals.valid.device)
    selection, scores = keep(signals, batch, config)
    output: ModelOutput
    if anatomy.kind == "whole" and config.gradient == "inject":
        output = whole_output(anatomy, batch, config, record, selection, signals, given)
    elif anatomy.kind == "whole":
        del signals, given  # with the last block's graph
        # The loss is the dense one: recorded rows are constants, among which the kept ones live.
        weights = selection.importance * selection.active
        output = replay_pass(anatomy, batch, record, selection, weights=weights).output
    elif config.gradient == "inject":
        output = inject_adjoint(anatomy, batch, config, record, selection, signals)
    else:
        dtype = signals.head.dtype
        del signals  # the last block's graph goes before the replay builds its own
        output = restart_loss(anatomy, batch, config, record, selection, dtype)
    return output, report(batch, record, selection, scores)


def token_losses(
    anatomy: Anatomy, batch: Batch, config: TokenSeekConfig
) -> tuple[Float[Tensor, "b s"], StepReport]:
    """Run both passes; give the loss of each token that carries one, with its gradient.

    What is made of them is the caller's: a row of the sum of all has the gradient that
    :func:`training_step` has where all tokens that carry the loss are kept.
    """
    signals, record, _ = record_signals(anatomy, batch, config)
    batch = batch.to(signals.valid.device)
    selection, scores = keep(signals, batch, config)
    weights = torch.ones_like(selection.indices, dtype=signals.head.dtype)
    del signals
    losses, _ = restart_losses(anatomy, batch, config, record, selection, weights)
    everywhere = losses.new_zeros(batch.labels.shape).scatter(1, selection.indices, losses)
    return everywhere, report(batch, record, selection, scores)


def forward_losses(anatomy: Anatomy, batch: Batch) -> Float[Tensor, "b s"]:
    """The loss of each token that carries one, without a graph and in chunks of rows."""
    final = record_pass(anatomy, batch).final
    return Head(anatomy, batch.targets.to(final.device), batch.counts.total).losses(final)


def report(
    batch: Batch, record: Record, selection: Selection, scores: Float[Tensor, "b s"]
) -> StepReport:
    """What a step kept."""
    source = selection.source
    return StepReport(
        indices=selection.indices,
        active=selection.active,
        scores=scores,
        importance=selection.importance,
        supervised_share=supervised_share(batch, selection),
        kept_bytes=record.kept_bytes,
        labels=batch.labels,
        valid=batch.valid,
        input_ids=batch.rowwise.get("input_ids"),
        source=None if source is None else everywhere(source, batch),
    )


def everywhere(source: Selection, batch: Batch) -> Float[Tensor, "b n"]:
    """What each token that an encoder reads stands for, 0 where it is not kept."""
    assert batch.source is not None
    nothing = torch.zeros_like(batch.source.valid, dtype=source.importance.dtype)
    return nothing.scatter(1, source.indices, source.importance * source.active)


def record_signals(
    anatomy: Anatomy, batch: Batch, config: TokenSeekConfig
) -> tuple[Signals, Record, ModelOutput]:
    """Run pass one with what the selector will look at, and no more.

    Returns:
        The evidence, keys and values, and what the model gave.

    Raises:
        InputError: No block would be left to replay.
    """
    inject = config.gradient == "inject"
    if inject and config.exact_blocks >= len(anatomy.blocks):
        raise InputError(
            f"exact_blocks ({config.exact_blocks}) must be below the model's "
            f"{len(anatomy.blocks)} blocks; 1 costs the least"
        )
    named = None if callable(config.selector) else config.selector
    recorded = record_pass(
        anatomy,
        batch,
        graph_blocks=config.exact_blocks if inject else int(named not in NO_GRADIENT),
        with_context=named not in NO_CONTEXT,
        exact=inject,
        offload=config.kv_offload,
    )
    record = recorded.record
    batch = batch.to(recorded.final.device)
    signals = Signals(
        input_ids=batch.rowwise.get("input_ids"),
        labels=batch.labels,
        targets=batch.targets,
        valid=batch.valid,
        block_input=recorded.block_input,
        final=recorded.final,
        received=record.context,
        head=Head(anatomy, batch.targets, batch.counts.total),
        prepended=record.adapters.prepended,
        retain=inject,
        loss=recorded.output["loss"] if anatomy.kind == "whole" else None,
        sequences=batch.sequences,
    )
    if batch.source is not None:
        assert recorded.source is not None
        unlabelled = torch.full_like(batch.source.valid, IGNORE_INDEX, dtype=torch.long)
        signals.source = SourceSignals(
            input_ids=batch.options.get("input_ids"),
            labels=unlabelled,
            targets=unlabelled,
            valid=batch.source.valid,
            block_input=recorded.source,
            final=recorded.source.detach(),
            received=record.source_context,
            head=signals.head,
            decoder=signals,
        )
    return signals, record, recorded.output


def restart_loss(
    anatomy: Anatomy,
    batch: Batch,
    config: TokenSeekConfig,
    record: Record,
    selection: Selection,
    dtype: torch.dtype,
) -> CausalLMOutput:
    """Replay the kept rows through all blocks, and start the loss anew from them."""
    weights = kept_weights(batch, selection, dtype, batch.num_items)
    losses, logits = restart_losses(anatomy, batch, config, record, selection, weights)
    return CausalLMOutput(loss=losses.sum(), logits=logits)


def restart_losses(
    anatomy: Anatomy,
    batch: Batch,
    config: TokenSeekConfig,
    record: Record,
    selection: Selection,
    weights: Float[Tensor, "b k"],
) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k v"] | None]:
    """Replay the kept rows, and give their losses by weight, with logits where they are asked for.

    A row without a target has none, whatever its weight.
    """
    targets = kept_targets(batch, selection)
    replayed = replay_pass(anatomy, batch, record, selection, logits=config.logits)
    if replayed.logits is not None:
        return row_losses(replayed.logits, targets) * weights, replayed.logits
    head = Head(anatomy, targets, count_rows(targets, batch.counts.total))
    return head_losses(head, replayed.hidden, weights, None, replayed.tied), None


def kept_weights(
    batch: Batch, selection: Selection, dtype: torch.dtype, num_items: Tensor | int | None
) -> Float[Tensor, "b k"]:
    """What each kept row counts in the loss, so that each instance counts by all its targets."""
    importance, sequences = selection.importance.to(dtype), batch.sequences
    if sequences is None:
        targets = kept_targets(batch, selection)
        return restart_weights(targets, importance, batch.supervised.sum(1), num_items)
    counted = torch.zeros_like(batch.targets, dtype=dtype).scatter(
        1, selection.indices, importance * selection.active
    )
    targets, counted = sequences.apart(batch.targets), sequences.apart(counted)
    weights = restart_weights(targets, counted * sequences.valid, sequences.supervised, num_items)
    return selection.rows(sequences.together(weights))


def kept_targets(batch: Batch, selection: Selection) -> Int[Tensor, "b k"]:
    """Targets of the kept rows; surplus rows have none."""
    return selection.rows(batch.targets).masked_fill(~selection.active, IGNORE_INDEX)


def inject_adjoint(
    anatomy: Anatomy,
    batch: Batch,
    config: TokenSeekConfig,
    record: Record,
    selection: Selection,
    signals: Signals,
) -> CausalLMOutput:
    """Keep the last blocks exact, and replay the kept rows below with the adjoint found there.

    The loss is the dense one. Its gradient reaches norm, head and exact blocks over all rows, and
    everything below through the kept rows alone: sum_{t in S} w_t <sg(G_t), z_t>, w the importance,
    which is 1 for rows that an adapter put in front.
    """
    total = total_items(batch.supervised.sum(1), batch.num_items, signals.head.dtype)
    injected, tied = injected_rows(anatomy, batch, config, record, selection, signals, total)
    losses = head_losses(
        signals.head,
        signals.final,
        batch.supervised / total,
        signals.through_head,
        tied,
    )
    return CausalLMOutput(loss=losses.sum() + injected.to(losses))


def injected_rows(
    anatomy: Anatomy,
    batch: Batch,
    config: TokenSeekConfig,
    record: Record,
    selection: Selection,
    signals: Signals,
    total: Float[Tensor, ""],
) -> tuple[Float[Tensor, ""], HeadGradient | None]:
    """Replay the kept rows below the exact blocks, and hand them the adjoint that arrives there.

    Args:
        anatomy: The model's parts.
        batch: The step's batch.
        config: The settings.
        record: What pass one kept.
        selection: The kept rows.
        signals: Where the adjoint is known.
        total: What it is still to be divided by.

    Returns:
        A zero whose gradient is theirs, and where that of a tied weight waits.
    """
    weights = selection.importance.to(total) * selection.active
    weights = F.pad(weights, (signals.prepended, 0), value=1) / total  # [b, p + k]
    adjoint = record.rows(selection).rows(signals.adjoint_of_rows)  # [b, p + k, d]
    adjoint = adjoint * weights[..., None].to(adjoint.dtype)
    replayed = replay_pass(anatomy, batch, record, selection, exact_blocks=config.exact_blocks)
    injected = apply(Inject, replayed.hidden, adjoint.to(replayed.hidden.device))
    if selection.source is not None:
        assert signals.source is not None
        assert replayed.source is not None
        kept = selection.source
        weights = kept.importance.to(total) * kept.active / total
        adjoint = kept.rows(signals.source.adjoint) * weights[..., None].to(adjoint.dtype)
        injected = injected + apply(Inject, replayed.source, adjoint)
    return injected, replayed.tied


def whole_output(
    anatomy: Anatomy,
    batch: Batch,
    config: TokenSeekConfig,
    record: Record,
    selection: Selection,
    signals: Signals,
    given: ModelOutput,
) -> ModelOutput:
    """What a model gives whose head reads all rows, with the gradient of the exact blocks.

    The loss is the dense one, and so are the gradients of head and exact blocks; what comes before
    them has that of the kept rows.
    """
    one = torch.ones_like(given["loss"])
    injected, _ = injected_rows(anatomy, batch, config, record, selection, signals, one)
    given["loss"] = given["loss"] + injected.to(given["loss"])
    return given


class Inject(torch.autograd.Function):
    """Nothing to add to a loss, and a given adjoint to hand down, scaled as the loss is."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Float[Tensor, "b k d"], adjoint: Float[Tensor, "b k d"]
    ) -> Float[Tensor, ""]:
        """Give a zero."""
        ctx.save_for_backward(adjoint)
        return hidden.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Float[Tensor, ""]) -> tuple[Tensor, None]:
        """Hand the adjoint to the kept rows."""
        (adjoint,) = ctx.saved_tensors
        return adjoint * upstream, None


def supervised_share(batch: Batch, selection: Selection) -> Float[Tensor, ""]:
    """Share of the kept rows that have a target."""
    kept = selection.rows(batch.supervised) & selection.active
    return kept.sum() / selection.active.sum().to(torch.float32)

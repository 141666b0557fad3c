"""Pass two: only the kept rows, with gradient, against the recorded keys and values.

Shapes: `b` batch, `k` kept rows, `l` those that keys are made of, `s` sequence, all of them with
the rows that an adapter put in front, `n_h` query heads, `n_kv` key/value heads, `g` = n_h / n_kv,
`d` head size, `h` hidden size, `v` vocabulary.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.utils.generic import ModelOutput

from tokenseek_common.rows import RowSelection
from tokenseek_core._anatomy import Anatomy, replaced, wrapped_block
from tokenseek_core._attention import Attended, delegate
from tokenseek_core._batch import Batch
from tokenseek_core._padding import known_padding
from tokenseek_core._record import Record, hidden_of
from tokenseek_core._rotary import still_frequencies
from tokenseek_core._row_attention import RowAttention
from tokenseek_core._selection import Selection
from tokenseek_core._tied import HeadGradient, tied_gradient


@dataclass
class Stack:
    """The rows that a replay runs in one stack of blocks.

    Args:
        rows: Which they are.
        ragged: Whether some of them are surplus.
    """

    rows: RowSelection
    ragged: bool

    def __post_init__(self) -> None:
        self.attention = RowAttention(self.rows)

    def merge(
        self,
        recorded: Float[Tensor, "b n_kv s d"],
        live: Float[Tensor, "b n_kv k d"],
        *,
        copy: bool,
    ) -> Float[Tensor, "b n_kv s d"]:
        """Put the live rows among the recorded ones; surplus rows of a ragged batch stay constant.

        In place: the record is not needed without its live rows, a recomputation writes the same
        rows again, and a copy of every key and value would cost as much as the record. From the
        host a copy comes anyway.
        """
        recorded = recorded.detach().to(live.device, copy=copy, non_blocking=True)
        index = self.rows.slots.to(live.device)[:, None, :, None].expand_as(live)
        if self.ragged:
            active = self.rows.active.to(live.device)[:, None, :, None]
            live = torch.where(active, live, recorded.gather(2, index))
        return recorded.scatter_(2, index, live)


@dataclass
class Replay:
    """The pass that replays rows against `record`.

    Keys and values of unselected tokens are constants; those of the selected tokens take their
    rows, so gradient flows between selected tokens only:
    o_i = sum_j softmax_j(q_i . k~_j * scaling + M_ij) v~_j, k~_j = k_j for j in S, else sg(k_j).
    """

    record: Record
    stack: Stack
    encoder: Stack | None = None
    weights: Float[Tensor, "b k"] | None = None
    """What the gradient of each row counts where a head reads recorded ones besides."""

    def attend(
        self,
        backend: str,
        module: nn.Module,
        query: Float[Tensor, "b n_h k d"],
        key: Float[Tensor, "b n_kv l d"],
        value: Float[Tensor, "b n_kv l dv"],
        attention_mask: Tensor | None,
        *,
        dropout: float = 0.0,
        scaling: float | None = None,
        **kwargs: Any,
    ) -> Attended:
        """Attend from the kept rows to all rows; the mask comes from the record."""
        if module not in self.record.inside:
            return delegate(backend, module)(
                *(module, query, key, value, attention_mask),
                **{"dropout": dropout, "scaling": scaling} | kwargs,
            )
        layer = self.record.layers.get(module)
        if layer is None:  # in an exact block: nobody reads what comes after its input
            b, n_h, k, _ = query.shape
            return value.new_zeros((b, k, n_h, value.shape[-1])), None

        encodes = module in self.record.encoder
        asking = self.encoder if encodes else self.stack
        asked = self.encoder if encodes or layer.crosses else self.stack
        assert asking is not None
        assert asked is not None
        kwargs.pop("position_bias", None)  # made of a few rows; that of the record is made anew

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            key = asked.merge(layer.key, key, copy=self.record.offload)  # [b, n_kv, s, d]
            value = asked.merge(layer.value, value, copy=self.record.offload)  # [b, n_kv, s, dv]
            return asking.attention.attend(
                *(backend, module, layer, query, key, value),
                dropout=dropout,
                scaling=scaling,
                **kwargs,
            )

        if self.record.offload:  # in the backward pass too, one layer's are there at a time
            attend = functools.partial(
                checkpoint, attend, use_reentrant=False, preserve_rng_state=dropout > 0
            )
        return attend(query, key, value), None


@dataclass(frozen=True)
class Replayed:
    """Pass two's harvest.

    Args:
        hidden: Final hidden states of the kept tokens; or those that reached the first exact block,
            which has the rows in front too. Where the head reads all rows, the kept ones of those
            that leave the last block.
        logits: Their logits, or None.
        tied: Where the gradient of a tied weight waits for the embedding's, or None.
        output: What the model gave; its loss is the step's where the head reads all rows.
        source: What an encoder made of its kept tokens.
    """

    hidden: Float[Tensor, "b k h"]
    logits: Float[Tensor, "b k v"] | None
    tied: HeadGradient | None
    output: ModelOutput
    source: Float[Tensor, "b l h"] | None = None


def replay_pass(
    anatomy: Anatomy,
    batch: Batch,
    record: Record,
    selection: Selection,
    *,
    exact_blocks: int = 0,
    logits: bool = False,
    weights: Float[Tensor, "b k"] | None = None,
) -> Replayed:
    """Run the kept rows through the model against the recorded keys and values.

    Args:
        anatomy: The model's parts.
        batch: The step's batch.
        record: What pass one kept.
        selection: The kept rows.
        exact_blocks: Last blocks that are not replayed; the rows stop at the input of the first.
        logits: Whether the rows go through the head as well.
        weights: What the gradient of each row counts where the head reads recorded ones besides.
    """
    rows, encoder = record.rows(selection), None
    if selection.source is not None:
        encoder = Stack(record.source_rows(selection.source), selection.source.ragged)
    hidden: list[Tensor] = []
    sources: list[Tensor] = []

    def stop(module: nn.Module, args: tuple[Any, ...]) -> None:
        hidden.append(args[0])
        torch.set_grad_enabled(False)

    def keep_final(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not exact_blocks:
            hidden.append(output.last_hidden_state)
        if not logits:
            output.last_hidden_state = output.last_hidden_state[:, :0].detach()
        return output

    def keep_top(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not exact_blocks:
            hidden.append(rows.rows(hidden_of(output)))

    def keep_source(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        sources.append(output.last_hidden_state)

    # Under autocast, pass one left copies of the weights behind that were cast without gradient.
    torch.clear_autocast_cache()
    with ExitStack() as stack:
        stack.callback(torch.set_grad_enabled, torch.is_grad_enabled())
        stack.enter_context(still_frequencies(anatomy.backbone))
        tied = stack.enter_context(tied_gradient(anatomy, batch))
        if exact_blocks:
            unread = list(anatomy.blocks)[-exact_blocks:]
            stack.callback(unread[0].register_forward_pre_hook(stop).remove)
            for block in unread:  # there is nothing to run again
                stack.enter_context(replaced(wrapped_block(block), "gradient_checkpointing", False))
        if anatomy.kind == "whole":
            stack.callback(anatomy.blocks[-1].register_forward_hook(keep_top).remove)
        else:
            stack.callback(anatomy.backbone.register_forward_hook(keep_final).remove)
        if anatomy.encoder is not None:
            stack.callback(anatomy.encoder.register_forward_hook(keep_source).remove)
        if anatomy.by_token:
            arguments = kept_arguments(batch, record, selection)
        else:
            mask = stack.enter_context(known_padding(batch))
            arguments = batch.arguments(mask)
        output = anatomy.forward(
            **arguments,
            **anatomy.uncached,
            tokenseek=Replay(record, Stack(rows, selection.ragged), encoder, weights),
            row_pass=rows,
        )
    of_rows = output.get("logits") if logits else None
    return Replayed(hidden[0], of_rows, tied, output, sources[0] if sources else None)


def kept_arguments(batch: Batch, record: Record, selection: Selection) -> dict[str, Any]:
    """What a model that can be given some of its tokens is called with."""
    rowwise = batch.positioned(record.positions)
    # A mask of four axes is passed on as it is: from the gaps between positions, transformers would
    # infer packed sequences. The replay ignores it and takes rows of the recorded masks.
    passed_on = torch.zeros((len(selection.indices), 1, 1, 1), device=selection.indices.device)
    tokens = {name: selection.rows(value) for name, value in rowwise.items()}
    return {**tokens, **batch.options, "attention_mask": passed_on}

"""Pass one: all rows without gradient, keeping the keys and values of every attention module.

Shapes: `b` batch, `s` sequence, `p` rows that an adapter put in front of it, `n` keys, which may be
an encoder's rows, `k` kept rows, `n_h` query heads, `n_kv` key/value heads, `d` head size, `h`
hidden size, `e` the same or what OPT projects it to.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from tokenseek_common import InputError
from tokenseek_common.rows import RowRecord, RowSelection
from tokenseek_core._anatomy import Anatomy, replaced, wrapped_block
from tokenseek_core._attention import (
    BEYOND_SDPA,
    OF_EACH_KEY,
    Attended,
    delegate,
    given,
    is_causal,
    own,
)
from tokenseek_core._batch import Batch, Source
from tokenseek_core._block_forwards import frozen, own_forward, recomputed
from tokenseek_core._context import attention_received
from tokenseek_core._host import to_host
from tokenseek_core._padding import known_padding
from tokenseek_core._selection import Selection
from tokenseek_core._tiles import in_tiles, tiled


@dataclass(frozen=True)
class RecordedLayer:
    """What one attention module saw in pass one."""

    key: Float[Tensor, "b n_kv n d"]
    value: Float[Tensor, "b n_kv n dv"]
    mask: Tensor | None
    causal: bool
    window: int | None
    crosses: bool = False
    """Whether its keys are those of an encoder, and its queries those of the decoder behind it."""
    bias: nn.Module | None = None
    """What makes the relative bias that is added to its map."""


@dataclass
class Record:
    """The pass that records; afterwards, the record.

    Args:
        valid: Tokens that are not padding, [b, s].
        exact: Modules of the blocks that are not replayed, so that nothing is kept of them.
        scored: Modules of the last block, whose column sums are the context score; empty where no
            selector asks for it.
        encoder: Modules of an encoder's blocks.
        block_of: The decoder's block that a module stands in, where there is an encoder: the second
            attention in a block looks at what that made.
        inside: Modules of the blocks; attention elsewhere, say that of a tower in front of them, is
            no business of ours.
        offload: Whether keys and values lie in the host's memory.
        adapters: What an adapter in front of the model did.
    """

    valid: Bool[Tensor, "b s"]
    exact: frozenset[nn.Module] = frozenset()
    scored: frozenset[nn.Module] = frozenset()
    inside: frozenset[nn.Module] = frozenset()
    encoder: frozenset[nn.Module] = frozenset()
    block_of: Mapping[nn.Module, nn.Module] = field(default_factory=dict)
    offload: bool = False
    layers: dict[nn.Module, RecordedLayer] = field(default_factory=dict)
    context: Float[Tensor, "b s"] | None = None
    source_context: Float[Tensor, "b n"] | None = None
    """Attention that the encoder's tokens receive in the decoder's last block."""
    positions: Int[Tensor, "..."] | None = None
    """Position ids of the tokens in attention, the model's own where the batch has none."""
    adapters: RowRecord = field(default_factory=RowRecord)
    top: Float[Tensor, "b s h"] | None = None
    """What the last block made of all rows, for a head that reads all of them."""
    source: Source | None = None
    """The tokens that an encoder reads."""
    begun: set[nn.Module] = field(default_factory=set)
    """The decoder's blocks that have attended to their own tokens."""
    biases: dict[bool, nn.Module] = field(default_factory=dict)
    """What makes relative biases in the encoder (True) and in the decoder."""

    def attend(
        self,
        backend: str,
        module: nn.Module,
        query: Float[Tensor, "b n_h p_s d"],
        key: Float[Tensor, "b n_kv n d"],
        value: Float[Tensor, "b n_kv n dv"],
        attention_mask: Tensor | None,
        **kwargs: Any,
    ) -> Attended:
        """Keep keys, values and mask, and attend as the model would without us."""
        if module not in self.inside:
            return delegate(backend, module)(module, query, key, value, attention_mask, **kwargs)
        self._require_all_rows(module, query)
        crosses = self._crosses(module)
        bias = self._bias(module, kwargs.get("position_bias")) if not crosses else None
        by_key = given(OF_EACH_KEY, kwargs)
        if by_key is not None and not (by_key == "position_bias" and (crosses or bias)):
            raise InputError(
                f"model ({type(module).__name__}) must not give attention {by_key}, which a pass "
                "over some rows cannot make; train it without TokenSeek"
            )
        beyond = given(BEYOND_SDPA, kwargs)
        if backend == "sdpa" and beyond is not None:
            raise InputError(
                f"attn_implementation (sdpa) must know {beyond}, which {type(module).__name__} "
                'gives it; load the model with attn_implementation="eager"'
            )
        if self.positions is None and kwargs.get("position_ids") is not None:
            self.positions = kwargs["position_ids"][..., self.adapters.prepended :]
        attended = delegate(backend, module)(module, query, key, value, attention_mask, **kwargs)
        if module in self.exact and module not in self.scored:
            return attended
        if module in self.layers:
            raise InputError(
                f"model ({type(module).__name__}) must call each attention module once in a "
                "forward; models that share modules between layers cannot be replayed"
            )
        keep = to_host if self.offload else own
        layer = RecordedLayer(
            key=keep(key),
            value=keep(value),
            mask=attention_mask,
            causal=is_causal(module, kwargs.get("is_causal")),
            window=kwargs.get("sliding_window"),
            crosses=crosses,
            bias=bias,
        )
        if module not in self.exact:
            self.layers[module] = layer
        if module in self.scored:
            front = self.adapters.prepended
            received = attention_received(
                query.detach(),
                key.detach(),
                F.pad(self.valid.to(query.device), (front, 0)),
                mask=layer.mask,
                causal=layer.causal,
                window=layer.window,
                scaling=kwargs.get("scaling"),
                softcap=kwargs.get("softcap"),
                bias=kwargs.get("position_bias"),
            )
            if crosses:
                self.source_context = received
            else:
                self.context = received[:, front:]
        return attended

    def _require_all_rows(self, module: nn.Module, query: Float[Tensor, "b n_h p_s d"]) -> None:
        """Refuse windows that are laid out as instances, and prompts that were not told of."""
        known = self.source.valid if self.source and module in self.encoder else self.valid
        rows = (known.shape[0], known.shape[1] + self.adapters.prepended)
        if (query.shape[0], query.shape[2]) != rows:
            raise InputError(
                f"model ({type(module).__name__}) must attend from all rows of an instance at "
                f"once and from no others, but does from {query.shape[2]} where {rows[1]} come to "
                "its blocks; take prompts off that stand in its layers, or train it without "
                "TokenSeek"
            )

    def _crosses(self, module: nn.Module) -> bool:
        """Whether `module`, which is called now, looks at what an encoder made."""
        block = self.block_of.get(module)
        if block is None or block in self.begun:
            return block is not None
        self.begun.add(block)
        return False

    def _bias(self, module: nn.Module, given: Tensor | None) -> nn.Module | None:
        """What made the relative bias that `module` was given: the first attention of its stack."""
        if given is None:
            return None
        encodes = module in self.encoder
        if hasattr(module, "relative_attention_bias"):
            self.biases[encodes] = module
        return self.biases.get(encodes)

    def source_rows(self, selection: Selection) -> RowSelection:
        """The kept tokens of an encoder."""
        assert self.source is not None
        return RowSelection(selection.indices, selection.active, self.source.valid.shape[1])

    def rows(self, selection: Selection) -> RowSelection:
        """The rows that pass two runs: those in front of the tokens, and the kept tokens."""
        tokens = RowSelection(
            selection.indices,
            selection.active,
            self.valid.shape[1],
            routing=self.adapters.routing,
        )
        return tokens.with_prepended(self.adapters.prepended)

    @property
    def kept_bytes(self) -> int:
        """Bytes of the recorded keys and values."""
        return sum(layer.key.nbytes + layer.value.nbytes for layer in self.layers.values())


@dataclass(frozen=True)
class Recorded:
    """Pass one's harvest.

    Args:
        record: Keys, values and masks.
        final: Final hidden states; with a graph down to `block_input` where one was asked for.
            Where the head reads all rows, those that leave the last block.
        block_input: z, where that graph begins, or None.
        output: What the model gave: of no rows, but where its head reads all of them.
        source: What an encoder made, at which the graph begins too where there is one.
    """

    record: Record
    final: Float[Tensor, "b s e"]
    block_input: Float[Tensor, "b p_s h"] | None
    output: ModelOutput
    source: Float[Tensor, "b n h"] | None = None


def record_pass(
    anatomy: Anatomy,
    batch: Batch,
    *,
    graph_blocks: int = 0,
    with_context: bool = False,
    exact: bool = False,
    offload: bool = False,
) -> Recorded:
    """Run all rows without gradient and keep what pass two attends to.

    Args:
        anatomy: The model's parts.
        batch: The step's batch.
        graph_blocks: Last blocks that run with gradient from their input on, so that a selector
            can look at adjoints without a forward of its own.
        with_context: Whether a selector will ask for the attention in the last block.
        exact: Whether those blocks stay out of pass two: then their keys and values are not kept,
            and their graph, which lives until the backward pass, holds their inputs alone.
        offload: Whether the host keeps the keys and values.

    Returns:
        The record, and the hidden states that scores are computed from.

    Raises:
        InputError: No attention call reached us.
    """
    top = list(anatomy.blocks)[len(anatomy.blocks) - graph_blocks :]
    record = Record(
        batch.valid,
        inside=anatomy.inside,
        exact=frozenset(m for block in top if exact for m in block.modules()),
        scored=frozenset(anatomy.blocks[-1].modules()) if with_context else frozenset(),
        offload=offload,
        source=batch.source,
        encoder=frozenset(m for block in anatomy.encoder_blocks or () for m in block.modules()),
        block_of={
            module: block
            for block in (anatomy.blocks if anatomy.encoder else ())
            for module in block.modules()
        },
    )
    checkpointed = anatomy.checkpointed
    block_inputs: list[Tensor] = []
    finals: list[Tensor] = []
    sources: list[Tensor] = []

    def start_graph(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        z = args[0].detach().requires_grad_()
        block_inputs.append(z)
        torch.set_grad_enabled(True)
        return replaced_arguments(module, (z, *args[1:]), kwargs, position_bias=live_bias(record))

    def read_source(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return replaced_arguments(module, args, kwargs, encoder_hidden_states=sources[0])

    def keep_source(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        sources.append(output.last_hidden_state.detach().requires_grad_(graph_blocks > 0))

    def keep_final(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        torch.set_grad_enabled(False)
        finals.append(output.last_hidden_state)
        # No row for the head, which would read its whole table for one.
        output.last_hidden_state = output.last_hidden_state[:, :0].detach()
        return output

    def keep_top(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        finals.append(hidden_of(output))  # the graph goes on to the loss

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for module in checkpointed:  # nothing to save, and the graph must not be re-entered
            stack.enter_context(replaced(module, "gradient_checkpointing", False))
        for block in list(anatomy.blocks)[: len(anatomy.blocks) - graph_blocks]:
            stack.enter_context(tiled(wrapped_block(block), own_forward))
        if top:
            stack.callback(top[0].register_forward_pre_hook(start_graph, with_kwargs=True).remove)
        if anatomy.encoder is not None:
            stack.callback(anatomy.encoder.register_forward_hook(keep_source).remove)
            for block in top:
                hook = block.register_forward_pre_hook(read_source, with_kwargs=True)
                stack.callback(hook.remove)
        for block in top:
            inner = wrapped_block(block)
            # A graph for scores alone needs nothing that only weights' gradients are made of.
            forward_of = own_forward if exact else frozen
            forward = in_tiles(inner, forward_of(inner), forward_of)
            if exact or checkpointed:  # who checkpoints wants to hold no block's activations
                forward = recomputed(inner, forward)
            stack.enter_context(replaced(inner, "forward", forward))
        if anatomy.kind == "whole":
            stack.callback(anatomy.blocks[-1].register_forward_hook(keep_top).remove)
        else:
            stack.callback(anatomy.backbone.register_forward_hook(keep_final).remove)
        mask = stack.enter_context(known_padding(batch))
        output = anatomy.forward(
            **batch.arguments(mask),
            **anatomy.uncached,
            tokenseek=record,
            row_pass=record.adapters,
        )
    if anatomy.kind == "whole":
        record.top = finals[0].detach()
    if record.adapters.prepended and not anatomy.by_token:
        raise InputError(
            f"adapter ({record.adapters.prepended} rows in front) must leave the rows of "
            f"{type(anatomy.model).__name__} where they are, its replay takes them in its blocks; "
            "train it without TokenSeek"
        )
    if not record.layers and not record.exact:
        raise InputError(
            f"model ({type(anatomy.model).__name__}) must call transformers' attention interface "
            "with its keyword arguments; models that do not cannot be replayed"
        )
    source = sources[0] if sources else None
    return Recorded(record, finals[0], block_inputs[0] if top else None, output, source)


def replaced_arguments(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], **others: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call of `module`, those among `others` that it is given replaced.

    One that is None stays as it was, and so does one that it is given as None.
    """
    _, *names = inspect.signature(type(wrapped_block(module)).forward).parameters
    by_place = dict(zip(names, args, strict=False))
    for name, value in others.items():
        if value is None:
            continue
        if by_place.get(name) is not None:
            by_place[name] = value
        elif kwargs.get(name) is not None:
            kwargs = kwargs | {name: value}
    return (*by_place.values(), *args[len(by_place) :]), kwargs


def live_bias(record: Record) -> Float[Tensor, "1 n_h s s"] | None:
    """The relative bias of a decoder's rows with its graph, or None where there is none."""
    owner: Any = record.biases.get(False)
    if owner is None or not record.valid.shape[1]:
        return None
    length = record.valid.shape[1]
    bias: Tensor = owner.compute_bias(length, length)
    return bias


def hidden_of(output: Any) -> Float[Tensor, "b s h"]:
    """The hidden states that a block gives, alone or before others."""
    hidden: Tensor = output if isinstance(output, Tensor) else output[0]
    return hidden

"""Pass one: all rows without gradient, keeping the keys and values of every attention module.

Shapes: `b` batch, `s` sequence, `n_h` query heads, `n_kv` key/value heads, `d` head size,
`h` hidden size.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tokenseek_common import InputError
from tokenseek_core._anatomy import Anatomy, replaced
from tokenseek_core._attention import Attended, delegate, is_causal, own
from tokenseek_core._batch import Batch
from tokenseek_core._context import attention_received


@dataclass(frozen=True)
class RecordedLayer:
    """What one attention module saw in pass one."""

    key: Float[Tensor, "b n_kv s d"]
    value: Float[Tensor, "b n_kv s dv"]
    mask: Tensor | None
    causal: bool
    window: int | None


@dataclass
class Record:
    """The pass that records; afterwards, the record.

    Args:
        valid: Tokens that are not padding, [b, s].
        scored: Attention modules of the last block, whose column sums are the context score; empty
            where no score is asked for.
    """

    valid: Bool[Tensor, "b s"]
    scored: frozenset[nn.Module] = frozenset()
    layers: dict[nn.Module, RecordedLayer] = field(default_factory=dict)
    context: Float[Tensor, "b s"] | None = None

    def attend(
        self,
        backend: str,
        module: nn.Module,
        query: Float[Tensor, "b n_h s d"],
        key: Float[Tensor, "b n_kv s d"],
        value: Float[Tensor, "b n_kv s dv"],
        attention_mask: Tensor | None,
        **kwargs: Any,
    ) -> Attended:
        """Keep keys, values and mask, and attend as the model would without us."""
        if module in self.layers:
            raise InputError(
                f"model ({type(module).__name__}) must call each attention module once in a "
                "forward; models that share modules between layers cannot be replayed"
            )
        layer = RecordedLayer(
            key=own(key),
            value=own(value),
            mask=attention_mask,
            causal=is_causal(module, kwargs.get("is_causal")),
            window=kwargs.get("sliding_window"),
        )
        self.layers[module] = layer
        if module in self.scored:
            self.context = attention_received(
                query.detach(),
                layer.key,
                self.valid,
                mask=layer.mask,
                causal=layer.causal,
                window=layer.window,
                scaling=kwargs.get("scaling"),
            )
        return delegate(backend, module)(module, query, key, value, attention_mask, **kwargs)

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
        block_input: z, input of the last block, or None.
    """

    record: Record
    final: Float[Tensor, "b s h"]
    block_input: Float[Tensor, "b s h"] | None


def record_pass(anatomy: Anatomy, batch: Batch, *, scored: bool) -> Recorded:
    """Run all rows without gradient and keep what pass two attends to.

    Args:
        anatomy: The model's parts.
        batch: The step's batch.
        scored: Whether the last block and the final norm run with gradient from the block's input
            on, so that a selector can look at adjoints without a forward of its own.

    Returns:
        The record, and the hidden states that scores are computed from.

    Raises:
        InputError: No attention call reached us.
    """
    record = Record(batch.valid, frozenset(anatomy.last_block.modules()) if scored else frozenset())
    block_inputs: list[Tensor] = []
    finals: list[Tensor] = []

    def start_graph(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        z = args[0].detach().requires_grad_()
        block_inputs.append(z)
        torch.set_grad_enabled(True)
        return (z, *args[1:]), kwargs

    def keep_final(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        torch.set_grad_enabled(False)
        finals.append(output.last_hidden_state)
        # One row is enough for the head: pass one needs no [s, v] logits.
        output.last_hidden_state = output.last_hidden_state[:, -1:].detach()
        return output

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for module in anatomy.checkpointed:  # nothing to save, and the graph must not be re-entered
            stack.enter_context(replaced(module, "gradient_checkpointing", False))
        if scored:
            hook = anatomy.last_block.register_forward_pre_hook(start_graph, with_kwargs=True)
            stack.callback(hook.remove)
        stack.callback(anatomy.backbone.register_forward_hook(keep_final).remove)
        anatomy.forward(
            **batch.rowwise,
            **batch.options,
            attention_mask=batch.attention_mask,
            use_cache=False,
            tokenseek=record,
        )
    if not record.layers:
        raise InputError(
            f"model ({type(anatomy.model).__name__}) must call transformers' attention interface "
            "with its keyword arguments; models that do not cannot be replayed"
        )
    return Recorded(record, finals[0], block_inputs[0] if scored else None)

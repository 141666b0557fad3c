"""Pass one: all rows without gradient, keeping the keys and values of every attention module.

Shapes: `b` batch, `s` sequence, `n_h` query heads, `n_kv` key/value heads, `d` head size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from tokenseek_common import InputError
from tokenseek_core._attention import Attended, delegate, is_causal, own
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

"""The relative bias of positions that some models, T5 first, add to their attention maps.

Shapes: `b` batch, `k` kept rows, `s` keys, `n_h` query heads.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor


def bias_of_rows(owner: Any, slots: Int[Tensor, "b k"], length: int) -> Float[Tensor, "b n_h k s"]:
    """Rows of the relative bias between positions, with its graph.

    Args:
        owner: The attention that makes it, T5's.
        slots: The rows.
        length: The keys.
    """
    b, k = slots.shape
    bias = owner.compute_bias(1, length, slots.device, past_seen_tokens=slots.reshape(-1, 1))
    rows: Tensor = bias[0].unflatten(1, (b, k)).transpose(0, 1)
    return rows

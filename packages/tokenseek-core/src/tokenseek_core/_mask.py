"""Rows of an attention mask, whatever form the model's backend gave it.

Shapes: `b` batch, `h` mask heads (mostly 1), `k` chosen rows, `s` sequence.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


def mask_rows(
    mask: Shaped[Tensor, "..."] | None,
    slots: Int[Tensor, "b k"],
    length: int,
    *,
    causal: bool,
    window: int | None,
    dtype: torch.dtype,
) -> Float[Tensor, "b h k s"]:
    """Gather the additive mask of a few query rows.

    Args:
        mask: What the block received: None, a padding mask [b, s], or a mask [b|1, h, s, s] that is
            boolean (True may attend) or additive.
        slots: Row of each query in the sequence; a slot, which is not its position id where the
            batch is padded on the left.
        length: Number of keys, `s`.
        causal: Whether a row without a mask of its own sees only the keys up to its slot.
        window: Width of a sliding window, for backends that apply it in the kernel.
        dtype: Floating type of the queries.

    Returns:
        Zero where a query may attend, the type's lowest finite number where it may not. Finite, so
        that a row that may attend nowhere (padding) stays free of NaN.
    """
    if mask is not None and mask.ndim == 4:
        mask = mask.expand(slots.shape[0], -1, -1, -1)
        rows = torch.take_along_dim(mask, slots[:, None, :, None], dim=2)
        if rows.dtype != torch.bool:
            return rows.to(dtype).clamp(min=torch.finfo(dtype).min)
        allowed = rows
    else:
        keys = torch.arange(length, device=slots.device)
        allowed = torch.ones(
            (slots.shape[0], 1, slots.shape[1], length), dtype=torch.bool, device=slots.device
        )
        if causal:
            allowed = allowed & (keys <= slots[:, None, :, None])
        if window is not None:
            allowed = allowed & (keys > slots[:, None, :, None] - window)
        if mask is not None:
            allowed = allowed & mask[:, None, None, :].bool()
    additive = torch.zeros(allowed.shape, dtype=dtype, device=slots.device)
    return additive.masked_fill_(~allowed, torch.finfo(dtype).min)

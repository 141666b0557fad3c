"""Rows of an attention mask, whatever form the model's backend gave it.

Shapes: `b` batch, `h` mask heads (mostly 1), `k` chosen rows, `s` sequence.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

ALIGNMENT = 8
"""Numbers between the beginnings of a mask's rows are a multiple of it: the kernels of SDPA on CUDA
would copy any other mask, for every layer."""


def mask_rows(
    mask: Shaped[Tensor, "..."] | None,
    slots: Int[Tensor, "b k"],
    length: int,
    *,
    causal: bool,
    window: int | None,
    dtype: torch.dtype,
    repeats: int = 1,
) -> Float[Tensor, "b h r k s"]:
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
        repeats: How many times the rows stand one after the other, `r`.

    Returns:
        Zero where a query may attend, the type's lowest finite number where it may not. Finite, so
        that a row that may attend nowhere (padding) stays free of NaN.
    """
    lowest = torch.finfo(dtype).min
    if mask is not None and mask.ndim == 4:
        mask = mask.expand(slots.shape[0], -1, -1, -1)
        rows = torch.take_along_dim(mask, slots[:, None, :, None], dim=2)[:, :, None]
        if rows.dtype != torch.bool:
            return _aligned(rows, dtype, repeats).copy_(rows).clamp_(min=lowest)
        hidden = rows.logical_not_()
    else:
        hidden = _hidden(mask, slots, length, causal=causal, window=window)[:, None, None]
    return _aligned(hidden, dtype, repeats).zero_().masked_fill_(hidden, lowest)


def _hidden(
    mask: Shaped[Tensor, "b s"] | None,
    slots: Int[Tensor, "b k"],
    length: int,
    *,
    causal: bool,
    window: int | None,
) -> Bool[Tensor, "b k s"]:
    """Keys that rows without a mask of their own may not attend to."""
    keys, rows = torch.arange(length, device=slots.device), slots[..., None]
    hidden = keys > rows if causal else torch.zeros_like(keys > rows)
    if window is not None:
        hidden |= keys <= rows - window
    if mask is not None:
        hidden |= ~mask[:, None].bool()
    return hidden


def _aligned(
    rows: Shaped[Tensor, "b h 1 k s"], dtype: torch.dtype, repeats: int
) -> Float[Tensor, "b h r k s"]:
    """Room for a mask whose rows begin at aligned places."""
    b, h, _, k, s = rows.shape
    padded = -(-s // ALIGNMENT) * ALIGNMENT
    return torch.empty((b, h, repeats, k, padded), dtype=dtype, device=rows.device)[..., :s]

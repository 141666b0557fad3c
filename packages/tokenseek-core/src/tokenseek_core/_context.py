"""The context score: attention that a token receives (Eq. 3).

Shapes: `b` batch, `s` queries and `n` keys, `n_h` query heads, `n_kv` key/value heads, `d` head
size, `g` = n_h / n_kv, `r` rows of one chunk, `seen` keys that they see.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tokenseek_core._chunks import chunk_bytes, walked
from tokenseek_core._mask import mask_rows


@torch.no_grad()
def attention_received(
    query: Float[Tensor, "b n_h s d"],
    key: Float[Tensor, "b n_kv n d"],
    readers: Shaped[Tensor, "b s"],
    *,
    mask: Tensor | None,
    causal: bool,
    window: int | None,
    scaling: float | None,
    softcap: float | None = None,
    bias: Float[Tensor, "1 n_h s n"] | None = None,
) -> Float[Tensor, "b n"]:
    """Sum each column of the attention map, weighing its rows and averaged over heads (Eq. 3).

    I1(t_j) = sum_i w_i A_ij, with A = softmax(mask(cap(Q K^T * scaling))). The map is computed a
    few query rows at a time, so it never exists whole.

    Args:
        query: Queries after position encoding.
        key: Keys after position encoding.
        readers: w, weight of each query; Eq. 3 has 1 for tokens and 0 for padding.
        mask: The mask that the block received, see :func:`mask_rows`.
        causal: Whether rows without a mask see only the past.
        window: Width of a sliding window.
        scaling: Factor on the logits; None is 1 / sqrt(d).
        softcap: c in cap(x) = c * tanh(x / c); None caps nothing.
        bias: Relative bias, added to the logits.

    Returns:
        Attention received by each token, at least float32.
    """
    b, n_h, s, d = query.shape
    n_kv, n = key.shape[1:3]
    scaling = d**-0.5 if scaling is None else scaling
    dtype = torch.promote_types(query.dtype, torch.float32)
    key = key.transpose(-1, -2)  # [b, n_kv, d, s]
    received = torch.zeros((b, n), dtype=dtype, device=query.device)
    # Logits and softmax are of this size, and the product before them of half of it, or as much.
    chunk = max(1, chunk_bytes(query) // (2 * b * n_h * n * dtype.itemsize))
    past = causal and (mask is None or mask.ndim == 2)  # later keys are hidden from all of a chunk
    for first in range(0, walked(s, chunk, query), chunk):
        rows = torch.arange(first, min(first + chunk, s), device=query.device)
        r, seen = len(rows), first + len(rows) if past else n
        additive = mask_rows(
            mask[:, :seen] if past and mask is not None else mask,
            rows.expand(b, -1),
            seen,
            causal=causal,
            window=window,
            dtype=dtype,
        )[:, :, 0]  # [b, h, r, seen]
        if bias is not None:
            additive = additive + bias[:, :, first : first + r, :seen].to(dtype)
        folded = query[:, :, first : first + r].reshape(b, n_kv, -1, d)  # [b, n_kv, g*r, d]
        logits = (folded @ key[..., :seen]).view(b, n_h, r, seen)
        if softcap is None:
            logits = torch.add(additive, logits, alpha=scaling)
        else:
            logits = logits.to(dtype).mul_(scaling / softcap).tanh_().mul_(softcap).add_(additive)
        attention = logits.softmax(-1).view(b, n_h * r, seen)
        weights = readers[:, None, rows].to(dtype).repeat(1, 1, n_h)  # [b, 1, n_h*r]
        received[:, :seen] += (weights @ attention)[:, 0]
    return received / n_h

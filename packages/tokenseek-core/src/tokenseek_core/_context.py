"""The context score: attention that a token receives (Eq. 3).

Shapes: `b` batch, `s` sequence, `n_h` query heads, `n_kv` key/value heads, `d` head size,
`r` rows of one chunk.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

from tokenseek_core._mask import mask_rows

CHUNK_BYTES = 8 * 2**20
"""Size of the largest piece of an attention map that is held at a time."""


@torch.no_grad()
def attention_received(
    query: Float[Tensor, "b n_h s d"],
    key: Float[Tensor, "b n_kv s d"],
    readers: Shaped[Tensor, "b s"],
    *,
    mask: Tensor | None,
    causal: bool,
    window: int | None,
    scaling: float | None,
    softcap: float | None = None,
) -> Float[Tensor, "b s"]:
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

    Returns:
        Attention received by each token, at least float32.
    """
    b, n_h, s, d = query.shape
    scaling = d**-0.5 if scaling is None else scaling
    dtype = torch.promote_types(query.dtype, torch.float32)
    key = key.repeat_interleave(n_h // key.shape[1], dim=1).transpose(-1, -2)  # [b, n_h, d, s]
    received = torch.zeros((b, s), dtype=dtype, device=query.device)
    chunk = max(1, CHUNK_BYTES // (b * n_h * s * dtype.itemsize))
    walked = min(s, 3 * chunk) if is_fake(query) else s  # of fake rows, the first stand for all
    for rows in torch.arange(walked, device=query.device).split(chunk):
        additive = mask_rows(
            mask, rows.expand(b, -1), s, causal=causal, window=window, dtype=dtype
        )  # [b, 1, r, s]
        logits = (query[:, :, rows] @ key).to(dtype).mul_(scaling)  # [b, n_h, r, s]
        if softcap is not None:
            logits.div_(softcap).tanh_().mul_(softcap)
        logits.add_(additive)
        # The softmax in the buffer that is there: weights and denominators make one factor a row.
        logits.sub_(logits.amax(-1, keepdim=True)).exp_()
        factors = readers[:, None, None, rows] / logits.sum(-1)[:, :, None]  # [b, n_h, 1, r]
        received += (factors.to(dtype) @ logits).sum(dim=(1, 2))
    return received / n_h

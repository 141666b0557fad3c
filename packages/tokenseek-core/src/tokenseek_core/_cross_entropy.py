"""The loss of each row and its gradient by the logits, in float32 or better.

Shapes: `m` rows, `v` vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tokenseek_core._chunks import chunk_bytes


@torch.no_grad()
def cross_entropy(
    logits: Float[Tensor, "m v"],
    target: Int[Tensor, " m"],
    *,
    gradient: Float[Tensor, "m v"] | None = None,
    weights: Float[Tensor, " m"] | None = None,
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Cross-entropy of each row.

    Only a slice of the rows is ever copied to float32, of half the bytes that a chunk may have.

    Args:
        logits: Logits of each row.
        target: Target of each row; one that has none counts as token 0, and is to weigh nothing.
        gradient: Receives the losses' gradient by the logits, p - onehot(target) with
            p = softmax(logits); it may be the logits themselves.
        weights: What each row of the gradient is multiplied by.

    Returns:
        -log p[target], and the logarithm of the softmax's denominator.
    """
    m, v = logits.shape
    token = target.clamp(min=0)[:, None]
    dtype = torch.promote_types(logits.dtype, torch.float32)
    at_target = logits.gather(1, token)  # [m, 1]
    each = max(1, chunk_bytes(logits) // (2 * v * dtype.itemsize))
    parts = []
    for first in range(0, m, each):
        rows = slice(first, first + each)
        log_p = F.log_softmax(logits[rows], -1, dtype=dtype)
        parts.append(log_p.gather(1, token[rows]))
        if gradient is not None:
            p = log_p.exp_()
            gradient[rows] = p if weights is None else p.mul_(weights[rows, None])
    picked = torch.cat(parts)  # [m, 1]
    if gradient is not None:
        # p - 1 loses digits where p is close to 1, and all of them in half precision.
        by_target = torch.expm1(picked)
        if weights is not None:
            by_target *= weights[:, None]
        gradient.scatter_(1, token, by_target.to(gradient.dtype))
    return -picked[:, 0], (at_target - picked)[:, 0]

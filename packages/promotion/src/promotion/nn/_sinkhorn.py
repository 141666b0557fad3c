"""Sinkhorn-Knopp: the assignment of tokens to prototypes that uses all of them alike."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def sinkhorn(
    scores: Float[Tensor, "*b n k"], *, epsilon: float = 0.05, iterations: int = 3
) -> Float[Tensor, "*b n k"]:
    """Balance an assignment by optimal transport with entropy.

        Q* = argmax_{Q in Pi} <Q, scores> + epsilon H(Q),
        Pi = { Q >= 0, Q 1_k = 1_n, Q^T 1_n = (n / k) 1_k }

    Rows and columns of exp(scores / epsilon) are scaled in turn, in the logarithm, so that no
    epsilon overflows. The rows come last: each token's shares sum to one exactly, and the columns
    to n / k as nearly as the iterations bring them.

    Args:
        scores: How well token n fits prototype k, such as a cosine; any leading axes.
        epsilon: Weight of the entropy; towards 0 the assignment becomes hard.
        iterations: Times that columns and rows are scaled.

    Returns:
        Q, the shares of each token.

    Source:
        Cuturi, "Sinkhorn Distances" (2013), as ProMotion clusters its prototypes.
    """
    log_q = scores / epsilon
    for _ in range(iterations):
        # To one and not to n / k: the rows that come next take any common factor away.
        log_q = log_q - torch.logsumexp(log_q, -2, keepdim=True)
        log_q = log_q - torch.logsumexp(log_q, -1, keepdim=True)
    return log_q.exp()

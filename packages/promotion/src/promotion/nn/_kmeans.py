"""Spherical k-means within each picture, begun at given centres."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@torch.no_grad()
def kmeans(
    tokens: Float[Tensor, "b n p"], centres: Float[Tensor, "k p"], *, iterations: int = 3
) -> Int[Tensor, "b n"]:
    """Which centre each token belongs to after some of Lloyd's iterations.

        y_n = argmax_k <e_n, c_k>,    c_k <- normalize(sum_{n: y_n = k} e_n),    k in use

    Args:
        tokens: e, unit vectors.
        centres: c, unit vectors at which each picture begins; one without tokens stays.
        iterations: Times that the centres follow their tokens.
    """
    moved = centres.expand(len(tokens), -1, -1)
    for _ in range(iterations):
        chosen = F.one_hot((tokens @ moved.transpose(1, 2)).argmax(-1), len(centres))
        sums = chosen.to(tokens.dtype).transpose(1, 2) @ tokens  # [b, k, p]
        moved = torch.where(chosen.any(1)[..., None], F.normalize(sums, dim=-1), moved)
    return (tokens @ moved.transpose(1, 2)).argmax(-1)

"""Convex upsampling: each fine value is a learned average of the nine coarse ones around it."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from promotion.nn._encoder import STRIDE


def convex_upsample(
    coarse: Float[Tensor, "b c h w"], logits: Float[Tensor, "b m h w"], factor: int
) -> Float[Tensor, "b c i j"]:
    """Enlarge a map by weights that a network gives.

        fine(c, f h + p, f w + q) = sum_k softmax_k(logits(k, p, q, h, w)) coarse(c, (h, w) + k)

    Args:
        coarse: What is enlarged. Beyond its border its outermost values go on.
        logits: m = 9 factor^2 channels: nine neighbours, row by row, then the fine cells p, q.
        factor: f, fine cells to a coarse one along each axis.

    Returns:
        The fine map, `factor` times as high and wide. Displacements in pixels of the coarse map
        are still to be multiplied by `factor`.

    Source:
        Teed and Deng, "RAFT" (2020), section 3.3.
    """
    b, c, h, w = coarse.shape
    weights = logits.view(b, 1, 9, factor, factor, h, w).softmax(2)
    neighbours = F.unfold(F.pad(coarse, (1, 1, 1, 1), mode="replicate"), 3)
    fine = (weights * neighbours.view(b, c, 9, 1, 1, h, w)).sum(2)  # [b, c, f, f, h, w]
    return fine.permute(0, 1, 4, 2, 5, 3).reshape(b, c, factor * h, factor * w)


class ConvexUpsampler(nn.Module):
    """Convex upsampling to full size, by weights from a recurrent state.

    Args:
        hidden: Channels of the state.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            nn.Conv2d(hidden, 2 * hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * hidden, 9 * STRIDE**2, 1),
        )

    def forward(
        self, coarse: Float[Tensor, "b c h w"], state: Float[Tensor, "b s h w"]
    ) -> Float[Tensor, "b c i j"]:
        """Enlarge by `STRIDE`; the weights begin nearly even, as RAFT's factor of 0.25 has it."""
        return convex_upsample(coarse, 0.25 * self.weights(state), STRIDE)

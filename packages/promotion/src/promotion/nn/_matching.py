"""Where the flow decoder starts: the mean of all places in a window that look alike."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

TRAINED_CELLS = 320
"""Cells of a typical training picture; the softmax over more of them is sharpened to match."""

CHUNK = 2**24
"""Products that are held at once."""


class GlobalMatching(nn.Module):
    """``x' = sum_y softmax_y(t <f1(x), f2(y)> / sqrt(d)) y`` over the cells y near x.

    A softmax over more cells than it was trained on grows flat, and its mean drifts to the middle
    of the picture. So only a window is matched, and the logits grow with the logarithm of the
    number of cells in reach.

    Args:
        radius: Cells to each side that a window reaches.

    Source:
        Xu et al., "GMFlow" (2022), for the matching without a window.
    """

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius = radius
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(
        self, first: Float[Tensor, "b d h w"], second: Float[Tensor, "b d h w"]
    ) -> Float[Tensor, "b 2 h w"]:
        """The displacement of each cell, in cells (right, down)."""
        d, h, w = first.shape[1:]
        places = grid(h, w, like=first).flatten(1)  # [2, n]
        reach = min(h, 2 * self.radius + 1) * min(w, 2 * self.radius + 1)
        sharpening = max(1.0, math.log(reach) / math.log(TRAINED_CELLS))
        rows = first.flatten(2).transpose(1, 2) * (self.temperature * sharpening / math.sqrt(d))
        columns = second.flatten(2)  # [b, d, n]
        chunk = max(1, CHUNK // (len(rows) * h * w))
        matched = []
        for own, some in zip(places.T.split(chunk), rows.split(chunk, 1), strict=True):
            logits = some @ columns  # [b, chunk, n]
            if max(h, w) > self.radius + 1:
                logits = logits.masked_fill(~self._near(own.T, places), -math.inf)
            matched.append(logits.softmax(-1) @ places.T)
        displacement: Tensor = torch.cat(matched, 1).transpose(1, 2) - places
        matched_cells: Tensor = displacement.unflatten(2, (h, w))
        return matched_cells

    def _near(self, own: Float[Tensor, "2 m"], places: Float[Tensor, "2 n"]) -> Bool[Tensor, "m n"]:
        distance = (own[:, :, None] - places[:, None, :]).abs().amax(0)
        return distance <= self.radius


def grid(height: int, width: int, *, like: Tensor) -> Float[Tensor, "2 h w"]:
    """The place (x, y) of each cell or pixel."""
    y, x = torch.meshgrid(
        torch.arange(height, device=like.device, dtype=like.dtype),
        torch.arange(width, device=like.device, dtype=like.dtype),
        indexing="ij",
    )
    return torch.stack([x, y])

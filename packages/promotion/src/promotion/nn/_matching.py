"""Where the flow decoder starts: the mean of all places in a window that look alike."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promotion.nn._precision import exact
from promotion.nn._sharpening import sharpening

TRAINED_CELLS = 320
"""Cells of a typical training picture; the softmax over more of them is sharpened to match."""

BLOCK = 16
"""Cells to each side of a block, whose cells are matched together with all that they can reach."""


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
        window = 2 * self.radius + 1
        reach = torch.sym_min(h, window) * torch.sym_min(w, window)
        sharper = sharpening(reach, TRAINED_CELLS, like=first)
        first = first * (self.temperature * sharper / math.sqrt(d))
        places = grid(h, w, like=exact(first))
        if torch.compiler.is_exporting():  # the number of blocks would be that of one size
            return self._match(first, second, places, places) - places
        rows = []
        for y in range(0, h, BLOCK):
            row = []
            for x in range(0, w, BLOCK):
                block = (..., slice(y, y + BLOCK), slice(x, x + BLOCK))
                around = (
                    ...,
                    slice(max(0, y - self.radius), y + BLOCK + self.radius),
                    slice(max(0, x - self.radius), x + BLOCK + self.radius),
                )
                row.append(self._match(first[block], second[around], places[block], places[around]))
            rows.append(torch.cat(row, 3))
        displacement: Tensor = torch.cat(rows, 2) - places
        return displacement

    def _match(
        self,
        first: Float[Tensor, "b d i j"],
        second: Float[Tensor, "b d u v"],
        own: Float[Tensor, "2 i j"],
        near: Float[Tensor, "2 u v"],
    ) -> Float[Tensor, "b 2 i j"]:
        """Where cells of the first frame, at places `own`, are found among those at `near`."""
        within_x = (own[0, 0, :, None] - near[0, 0]).abs() <= self.radius  # [j, v]
        within_y = (own[1, :, 0, None] - near[1, :, 0]).abs() <= self.radius  # [i, u]
        within = within_y[:, None, :, None] & within_x[None, :, None, :]  # [i, j, u, v]
        logits = first.flatten(2).transpose(1, 2) @ second.flatten(2)
        logits = logits.masked_fill(~within.flatten(2).flatten(0, 1), -math.inf)
        with torch.autocast(logits.device.type, enabled=False):  # it would round places
            found = exact(logits).softmax(-1) @ near.flatten(1).T  # [b, i j, 2]
        places: Tensor = found.transpose(1, 2).unflatten(2, own.shape[1:])
        return places


def grid(height: int, width: int, *, like: Tensor) -> Float[Tensor, "2 h w"]:
    """The place (x, y) of each cell or pixel."""
    y, x = torch.meshgrid(
        torch.arange(height, device=like.device, dtype=like.dtype),
        torch.arange(width, device=like.device, dtype=like.dtype),
        indexing="ij",
    )
    return torch.stack([x, y])

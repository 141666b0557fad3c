"""Matching again in a larger view, where what is found there fits better than what was carried."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from promotion.nn._matching import GlobalMatching, grid

MARGIN = 0.05
"""Cosine by which a match must fit better; chosen on generated scenes."""


def rematched(
    match: GlobalMatching,
    first: Float[Tensor, "b d h w"],
    second: Float[Tensor, "b d h w"],
    carried: Float[Tensor, "b 2 h w"],
    *,
    margin: float = MARGIN,
) -> Float[Tensor, "b 2 h w"]:
    """Per cell the match, where its features are more alike than those at the carried start.

        m if cos(f1(x), f2(x + m)) > cos(f1(x), f2(x + c)) + margin else c

    Args:
        match: Finds m.
        first: Features of the first frame.
        second: Features of the second; beyond its border they are 0.
        carried: c, the start from a smaller view, in cells.
        margin: How much more alike they must be.
    """
    found = match(first, second).to(carried)
    fits = likeness(first, second, found) > likeness(first, second, carried) + margin
    return torch.where(fits[:, None], found, carried)


def likeness(
    first: Float[Tensor, "b d h w"],
    second: Float[Tensor, "b d h w"],
    displacement: Float[Tensor, "b 2 h w"],
) -> Float[Tensor, "b h w"]:
    """Cosine of the features of each cell and of the place it is displaced to."""
    height, width = first.shape[-2:]
    places = grid(height, width, like=displacement) + displacement
    # Centres of cells at odd multiples of 1 / side, as grid_sample has them without align_corners.
    sides = places.new_tensor([width, height])[:, None, None]
    places = ((2 * places + 1) / sides - 1).permute(0, 2, 3, 1)  # [b, h, w, 2]
    there = F.grid_sample(
        F.normalize(second, dim=1).to(places), places, mode="bilinear", align_corners=False
    )
    return (F.normalize(first, dim=1).to(places) * there).sum(1)

"""How far motion can be told from two pictures: where it agrees with its way back, and with them.

Shapes: `h w` pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from kornia.geometry.transform import remap
from torch import Tensor

from promotion._variational import derivatives
from promotion.nn import STRIDE
from promotion.nn._matching import grid

NEIGHBOURHOOD = 4 * STRIDE
"""Pixels to each side over which pictures are compared."""

ALIKE = 0.5
"""Difference of two pictures, as a share of their slopes, up to which they may show no motion."""

INVISIBLE = 1e-4
"""Slope of the brightness, per pixel, that 8 bits cannot show."""

UNEXPLAINED = 1e-3
"""What a motion that leads out of the picture leaves unexplained."""

FAINT = 2e-3
"""Root mean square slope of the brightness, per pixel, at which motion is told by half."""


def consistency(flow: Float[Tensor, "2 h w"], back: Float[Tensor, "2 h w"]) -> Float[Tensor, "h w"]:
    """How well the flow there and back agree; see `Motion`."""
    height, width = flow.shape[-2:]
    x, y = grid(height, width, like=flow) + flow
    returned = remap(back[None], x[None], y[None], align_corners=True)[0]
    tolerated = 0.01 * (flow.square() + returned.square()).sum(0) + 0.5
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return torch.where(inside, (-(flow + returned).square().sum(0) / tolerated).exp(), 0)


def visibility_of_motion(image: Float[Tensor, "3 h w"]) -> Float[Tensor, "h w"]:
    """From 0 where a picture has no texture, of which no motion could be told, to 1."""
    slopes = averaged(derivatives(image)[0].square().sum(0))
    return slopes / (slopes + FAINT**2)


def or_no_motion(
    image1: Float[Tensor, "3 h w"], image2: Float[Tensor, "3 h w"], flow: Float[Tensor, "2 h w"]
) -> Float[Tensor, "2 h w"]:
    """Zero where nothing can be told: the pictures agree all around, and no worse than along it."""
    height, width = flow.shape[1:]
    here, there = derivatives(image1)[0], derivatives(image2)[0]
    x, y = grid(height, width, like=flow) + flow
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    moved = remap(there[None], x[None], y[None], "bilinear", "border", True)[0]
    along_it = torch.where(inside, (moved - here).abs().sum(0), UNEXPLAINED)
    without = averaged((there - here).abs().sum(0))
    texture = averaged(here.abs().sum(0))
    alike = without <= ALIKE * texture + INVISIBLE
    return torch.where(alike & (without <= averaged(along_it)), 0, flow)


def averaged(values: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Means over a square around each pixel, of what lies in the picture."""
    for axis in (0, 1):
        values = _averaged_along(values, axis)
    return values


def _averaged_along(values: Float[Tensor, "h w"], axis: int) -> Float[Tensor, "h w"]:
    size = values.shape[axis]
    sums = F.pad(values.double().cumsum(axis), (1, 0) if axis == 1 else (0, 0, 1, 0))
    places = torch.arange(size, device=values.device)
    high = (places + NEIGHBOURHOOD + 1).clamp(max=size)
    low = (places - NEIGHBOURHOOD).clamp(min=0)
    total = sums.index_select(axis, high) - sums.index_select(axis, low)
    count = (high - low) if axis == 1 else (high - low)[:, None]
    return (total / count).to(values)

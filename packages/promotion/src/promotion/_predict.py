"""From pictures of any size to motion and depth: padding, scales, consistency.

The network looks for correspondences within a window and was trained on small pictures. So a large
picture is first seen reduced; the flow found there is where the search at full size begins.
Shapes: `h w` pixels of the pictures, `i j` those of a scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from kornia.geometry.transform import remap
from torch import Tensor

from promotion._model import Features, ProMotion
from promotion._motion import Motion
from promotion._pictures import SMALLEST_SIDE
from promotion.nn import STRIDE, DecodedFlow
from promotion.nn._matching import grid

TRAINED_SIDE = 256
"""Pixels of the longer side up to which pictures are matched without a reduced view before."""


@torch.no_grad()
def predict(
    model: ProMotion,
    image1: Float[Tensor, "3 h w"],
    image2: Float[Tensor, "3 h w"] | None,
    *,
    iterations: int,
) -> Motion:
    """Run a model in evaluation mode on one or two pictures of any size."""
    height, width = image1.shape[-2:]
    if image2 is None:
        found = model.extract(pad(image1[None]))
        depth = model.depth(found.features, None)[-1][0]
        return Motion(
            None, depth[:height, :width], None, None, per_pixel(found.assignments, height, width)
        )
    flows, found, decoded = there_and_back(model, torch.stack([image1, image2]), iterations)
    motion = torch.cat([decoded.state[:1], decoded.coarse[:1]], 1)
    depth = model.depth(found.features[:1], motion)[-1][0]
    confidence = consistency(*flows)
    return Motion(
        flows[0],
        depth[:height, :width],
        confidence,
        confidence < math.exp(-1),
        per_pixel(found.assignments, height, width),
    )


def there_and_back(
    model: ProMotion, pair: Float[Tensor, "2 3 h w"], iterations: int
) -> tuple[Float[Tensor, "2 2 h w"], Features, DecodedFlow]:
    """Flow from each picture to the other, and what the decoders know at full size."""
    *smaller, _ = scales(*pair.shape[-2:])
    start = None
    for scale in smaller:
        start, _, _ = at_scale(model, reduced(pair, scale), iterations, start)
    return at_scale(model, pair, iterations, start)


def at_scale(
    model: ProMotion,
    pair: Float[Tensor, "2 3 i j"],
    iterations: int,
    start: Float[Tensor, "2 2 y x"] | None,
) -> tuple[Float[Tensor, "2 2 i j"], Features, DecodedFlow]:
    """The same of one view, from the flow of a smaller one on."""
    padded = pad(pair)
    if start is not None:
        start = coarse_start(start, pair.shape[-2:], padded.shape[-2:])
    found = model.extract(padded)
    decoded = model.flow(found.features, found.features.flip(0), iterations=iterations, start=start)
    return decoded.flows[-1][..., : pair.shape[-2], : pair.shape[-1]], found, decoded


def scales(height: int, width: int) -> list[float]:
    """Reductions by halves, the smallest view first; the last is the picture itself."""
    halvings = max(0, math.ceil(math.log2(max(height, width) / TRAINED_SIDE)))
    return [2.0**-halving for halving in range(halvings, -1, -1)]


def reduced(pair: Float[Tensor, "p 3 h w"], scale: float) -> Float[Tensor, "p 3 i j"]:
    """A smaller view, without aliasing."""
    size = [max(SMALLEST_SIDE, round(scale * side)) for side in pair.shape[-2:]]
    return F.interpolate(pair, size, mode="bilinear", antialias=True)


def pad(pictures: Float[Tensor, "p 3 h w"]) -> Float[Tensor, "p 3 i j"]:
    """Continue the last row and column until the sides are multiples of `STRIDE`."""
    height, width = pictures.shape[-2:]
    return F.pad(pictures, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")


def coarse_start(
    flow: Float[Tensor, "p 2 y x"], size: Sequence[int], padded: Sequence[int]
) -> Float[Tensor, "p 2 i j"]:
    """Flow of a reduced view as a start at the next scale, in its cells, padding included."""
    height, width = size
    scale = flow.new_tensor([width / flow.shape[-1], height / flow.shape[-2]]) / STRIDE
    whole = F.interpolate(flow, (height, width), mode="bilinear") * scale[:, None, None]
    whole = F.pad(whole, (0, padded[1] - width, 0, padded[0] - height), mode="replicate")
    return F.avg_pool2d(whole, STRIDE)


def consistency(flow: Float[Tensor, "2 h w"], back: Float[Tensor, "2 h w"]) -> Float[Tensor, "h w"]:
    """How well the flow there and back agree; see `Motion`."""
    height, width = flow.shape[-2:]
    x, y = grid(height, width, like=flow) + flow
    returned = remap(back[None], x[None], y[None], align_corners=True)[0]
    tolerated = 0.01 * (flow.square() + returned.square()).sum(0) + 0.5
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return torch.where(inside, (-(flow + returned).square().sum(0) / tolerated).exp(), 0)


def per_pixel(
    assignments: Int[Tensor, "p i j"] | None, height: int, width: int
) -> Int[Tensor, "h w"] | None:
    """The assignment of each pixel's cell, in the first picture."""
    if assignments is None:
        return None
    pixels = assignments[0].repeat_interleave(STRIDE, 0).repeat_interleave(STRIDE, 1)
    return pixels[:height, :width]

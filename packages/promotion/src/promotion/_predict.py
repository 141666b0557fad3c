"""From pictures of any size to motion and depth: views, padding, consistency.

The network looks for correspondences within a window, has cells of `STRIDE` pixels, and was trained
on pictures of about `TRAINED_SIDE` pixels. So pictures are seen in several views: first at that
size, where depth is found too, then larger and larger, each search beginning where the one before
ended. Small pictures are seen enlarged, since a cell of them would hide too much.
Shapes: `h w` pixels of the pictures, `i j` those of a view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from kornia.geometry.transform import remap
from torch import Tensor

from promotion._features import Features, Network
from promotion._motion import Motion
from promotion._pictures import SMALLEST_SIDE
from promotion.nn import STRIDE, DecodedFlow
from promotion.nn._matching import grid

TRAINED_SIDE = 256
"""Pixels of the longer side that the first view has at most, and more than half of."""

FINEST_SIDE = 256
"""Pixels of the longer side up to which the last view is twice as large as the pictures."""


@torch.no_grad()
def predict(
    model: Network,
    image1: Float[Tensor, "3 h w"],
    image2: Float[Tensor, "3 h w"] | None,
    *,
    iterations: int,
) -> Motion:
    """Run a model in evaluation mode on one or two pictures of any size."""
    height, width = image1.shape[-2:]
    first_view, *larger = views(height, width)
    if image2 is None:
        seen = resized(image1[None], first_view)
        found = model.extract(pad(seen))
        depth = model.depth(found.features, None)[-1][:, None]
        return Motion(
            None,
            fitted(cut(depth, seen), height, width)[0, 0],
            None,
            None,
            per_pixel(found.assignments, seen.shape[-2:], height, width),
        )
    pair = torch.stack([image1, image2])
    seen = resized(pair, first_view)
    flows, found, decoded = at_view(model, seen, iterations, None)
    motion = torch.cat([decoded.state[:1], decoded.coarse[:1]], 1)
    depth = model.depth(found.features[:1], motion)[-1][:, None]
    depth = fitted(cut(depth, seen), height, width)[0, 0]
    for view in larger:
        seen = resized(pair, view)
        flows, found, _ = at_view(model, seen, iterations, flows)
    flows = fitted_flow(flows, height, width)
    confidence = consistency(*flows)
    return Motion(
        flows[0],
        depth,
        confidence,
        confidence < math.exp(-1),
        per_pixel(found.assignments, seen.shape[-2:], height, width),
    )


def at_view(
    model: Network,
    pair: Float[Tensor, "2 3 i j"],
    iterations: int,
    before: Float[Tensor, "2 2 y x"] | None,
) -> tuple[Float[Tensor, "2 2 i j"], Features, DecodedFlow]:
    """Flow from each picture to the other in one view, from that of a smaller one on."""
    padded, start = pad(pair), None
    if before is not None:
        start = coarse_start(before, pair.shape[-2:], padded.shape[-2:])
    found = model.extract(padded)
    decoded = model.flow(found.features, found.features.flip(0), iterations=iterations, start=start)
    return cut(decoded.flows[-1], pair), found, decoded


def views(height: int, width: int) -> list[float]:
    """Sizes at which pictures are seen, as factors: the first fits the training, each doubles."""
    longer = max(height, width)
    first = math.floor(math.log2(TRAINED_SIDE / longer))
    last = max(first, 1 if longer <= FINEST_SIDE else 0)
    return [2.0**power for power in range(first, last + 1)]


def resized(pair: Float[Tensor, "p 3 h w"], factor: float) -> Float[Tensor, "p 3 i j"]:
    """A smaller or larger view, without aliasing."""
    height, width = (max(SMALLEST_SIDE, round(factor * side)) for side in pair.shape[-2:])
    return fitted(pair, height, width)


def fitted(maps: Float[Tensor, "p c i j"], height: int, width: int) -> Float[Tensor, "p c h w"]:
    """The same at a size."""
    if tuple(maps.shape[-2:]) == (height, width):
        return maps
    return F.interpolate(maps, (height, width), mode="bilinear", antialias=True)


def fitted_flow(
    flow: Float[Tensor, "p 2 i j"], height: int, width: int
) -> Float[Tensor, "p 2 h w"]:
    """The same of flow, in pixels of that size."""
    factors = flow.new_tensor([width / flow.shape[-1], height / flow.shape[-2]])
    return fitted(flow, height, width) * factors[:, None, None]


def cut(maps: Float[Tensor, "p c y x"], pictures: Float[Tensor, "q 3 i j"]) -> Tensor:
    """Without what `pad` added."""
    return maps[..., : pictures.shape[-2], : pictures.shape[-1]]


def pad(pictures: Float[Tensor, "p 3 h w"]) -> Float[Tensor, "p 3 i j"]:
    """Continue the last row and column until the sides are multiples of `STRIDE`."""
    height, width = pictures.shape[-2:]
    return F.pad(pictures, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")


def coarse_start(
    flow: Float[Tensor, "p 2 y x"], size: Sequence[int], padded: Sequence[int]
) -> Float[Tensor, "p 2 i j"]:
    """Flow of a smaller view as a start in the next one, in its cells, padding included."""
    height, width = size
    whole = fitted_flow(flow, height, width) / STRIDE
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
    assignments: Int[Tensor, "p i j"] | None, view: Sequence[int], height: int, width: int
) -> Int[Tensor, "h w"] | None:
    """The assignment of the cell that each pixel of the first picture lies in, in a view of it."""
    if assignments is None:
        return None
    rows, columns = (
        ((torch.arange(side, device=assignments.device) + 0.5) * seen / side / STRIDE).long()
        for side, seen in zip((height, width), view, strict=True)
    )
    return assignments[0][rows[:, None], columns]

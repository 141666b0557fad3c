"""From pictures of any size to motion and depth, view by view; see `_views` for why.

Shapes: `h w` pixels of the pictures, `i j` those of a view, `y x` its cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from kornia.filters import guided_blur
from torch import Tensor

from promotion._agreement import consistency, or_no_motion, visibility_of_motion
from promotion._motion import Motion
from promotion._seen import SeenPicture
from promotion._variational import refine
from promotion._views import (
    Quality,
    coarse_start,
    cut,
    depth_views,
    fitted,
    fitted_flow,
    views,
)
from promotion.nn import STRIDE
from promotion.nn._precision import exact

EDGE = 0.03
"""Standard deviation of the brightness from which depth takes it for an edge."""


MORE_AT_FIRST = (4, 2, 1)
"""Times the iterations in the first view, in the second and in the others: where the way is longest
they cost least."""


@dataclass(frozen=True)
class Settings:
    """How much is done for a pair.

    Args:
        iterations: Of the flow decoder in the third view and those after it; see `MORE_AT_FIRST`.
        quality: How fine the last view of the network is.
        confidence: Whether motion is found in both directions, and compared.
    """

    iterations: int
    quality: Quality = "balanced"
    confidence: bool = False


@torch.no_grad()
def predict(first: SeenPicture, second: SeenPicture | None, settings: Settings) -> Motion:
    """Motion and depth of one picture, or of the first of two."""
    height, width = first.picture.shape[1:]
    factors = views(height, width, settings.quality)
    if second is None:
        factors = depth_views(height, width, factors)
        return Motion(None, find_depth(first, factors, {}), None, None, assigned(first, factors))
    flow, states = find_flow(first, second, factors, settings.iterations)
    back = None
    if settings.confidence:
        back = find_flow(second, first, factors, settings.iterations)[0]
    return _motion(first, factors, flow, back, states)


@torch.no_grad()
def predict_both(
    first: SeenPicture, second: SeenPicture, settings: Settings
) -> tuple[Motion, Motion]:
    """Motion of each of two pictures to the other, with the confidence of both."""
    height, width = first.picture.shape[1:]
    factors = views(height, width, settings.quality)
    there, states = find_flow(first, second, factors, settings.iterations)
    back, states_back = find_flow(second, first, factors, settings.iterations)
    return (
        _motion(first, factors, there, back, states),
        _motion(second, factors, back, there, states_back),
    )


def _motion(
    seen: SeenPicture,
    factors: Sequence[float],
    flow: Float[Tensor, "2 h w"],
    back: Float[Tensor, "2 h w"] | None,
    states: dict[float, Tensor],
) -> Motion:
    confidence = occlusion = None
    if back is not None:
        agreed = consistency(flow, back)
        confidence = agreed * visibility_of_motion(seen.picture)
        occlusion = agreed < math.exp(-1)
    height, width = seen.picture.shape[1:]
    depth = find_depth(seen, depth_views(height, width, factors), states)
    return Motion(flow, depth, confidence, occlusion, assigned(seen, factors))


def predict_frames(frames: Iterable[SeenPicture], settings: Settings) -> Iterator[Motion]:
    """Motion of each frame to the next, and depth; the last has depth alone.

    Its depth is found with the frame before it as partner, as that of the others with the next.
    """
    first = second = None
    for first, second in pairwise(frames):
        yield predict(first, second, settings)
    if first is not None and second is not None:
        yield predict_last(first, second, settings)


@torch.no_grad()
def predict_last(before: SeenPicture, last: SeenPicture, settings: Settings) -> Motion:
    """Depth of the last frame of a sequence."""
    height, width = last.picture.shape[1:]
    factors = depth_views(height, width, views(height, width, settings.quality))
    states = find_flow(last, before, factors, settings.iterations)[1]
    return Motion(None, find_depth(last, factors, states), None, None, assigned(last, factors))


def find_flow(
    first: SeenPicture, second: SeenPicture, factors: Sequence[float], iterations: int
) -> tuple[Float[Tensor, "2 h w"], dict[float, Tensor]]:
    """Flow at the pictures' size, and what the decoder knows of the motion in each view."""
    flow, states = None, {}
    for number, factor in enumerate(factors):
        (view1, found1), (view2, found2) = first.at(factor), second.at(factor)
        start = None
        if flow is not None:
            padded = [STRIDE * side for side in found1.features.shape[-2:]]
            start = coarse_start(flow, view1.shape[1:], padded)[None]
        decoded = first.model.flow(
            found1.features,
            found2.features,
            iterations=iterations * MORE_AT_FIRST[min(number, 2)],
            start=start,
            rematch=True,
        )
        states[factor] = torch.cat([decoded.state, decoded.coarse.to(decoded.state)], 1)
        flow = exact(cut(decoded.flows[-1][0], view1))
        if factor <= 1:
            flow = refine(view1, view2, flow)
    assert flow is not None  # there is a view at least
    flow = finer(first, second, flow, factors[-1])
    return or_no_motion(first.picture, second.picture, flow), states


def finer(
    first: SeenPicture, second: SeenPicture, flow: Float[Tensor, "2 i j"], factor: float
) -> Float[Tensor, "2 h w"]:
    """Go on to the pictures' size, where the network does not look, by their brightness alone."""
    while factor != 1:
        factor = min(1.0, 2 * factor)
        view1, view2 = (fitted_view(seen, factor) for seen in (first, second))
        flow = refine(view1, view2, fitted_flow(flow, *view1.shape[1:]))
    return flow


def fitted_view(seen: SeenPicture, factor: float) -> Float[Tensor, "3 i j"]:
    """The picture at a size that only the photometric step sees."""
    height, width = (round(factor * side) for side in seen.picture.shape[1:])
    return fitted(seen.picture, height, width)


def find_depth(
    seen: SeenPicture, factors: Sequence[float], states: dict[float, Tensor]
) -> Float[Tensor, "h w"]:
    """Depth, its edges where those of the picture are.

    The logarithms of what is found in each view are averaged. With motion the shape is that which
    motion shows; the scale is always that of the picture alone, so that it is the same for all.
    """
    alone = _log_depth(seen, factors, {})
    depth = alone
    if states:
        moving = _log_depth(seen, factors, states)
        depth = moving + (alone.median() - moving.median())
    radius = max(1, round(STRIDE / factors[-1] / 2))
    guide = seen.picture.mean(0)[None, None].to(depth)
    sharp = guided_blur(
        guide, depth[None, None], 2 * radius + 1, EDGE**2, "replicate", subsample=-(-radius // 4)
    )
    return sharp[0, 0].clamp(depth.min(), depth.max()).exp()


def _log_depth(
    seen: SeenPicture, factors: Sequence[float], states: dict[float, Tensor]
) -> Float[Tensor, "h w"]:
    height, width = seen.picture.shape[1:]
    found = []
    for factor in factors:
        view, features = seen.at(factor)
        depth = seen.model.depth(features.features, states.get(factor))[-1].to(view)
        found.append(fitted(cut(depth, view), height, width)[0].log())
    return torch.stack(found).mean(0)


def assigned(seen: SeenPicture, factors: Sequence[float]) -> Int[Tensor, "h w"] | None:
    """The prototype of the cell that each pixel lies in, in the last view."""
    view, found = seen.at(factors[-1])
    if found.assignments is None:
        return None
    rows, columns = (
        ((torch.arange(side, device=view.device) + 0.5) * shown / side / STRIDE).long()
        for side, shown in zip(seen.picture.shape[1:], view.shape[1:], strict=True)
    )
    return found.assignments[0][rows[:, None], columns]

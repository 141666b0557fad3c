"""Points followed through many frames."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from promotion._model import ProMotion
from promotion._pictures import Picture
from promotion._sampling import sampled
from tokenseek_common import InputError

VISIBLE = math.exp(-1)
"""Confidence above which a point is taken to be the same one in the next frame."""


@dataclass(frozen=True)
class Tracks:
    """Points in the frames of a sequence.

    Args:
        positions: (x, y) in pixels of each point in each frame.
        visible: Whether it is seen there; once lost, a point stays lost.
    """

    positions: Float[Tensor, "t n 2"]
    visible: Bool[Tensor, "t n"]


def track(
    model: ProMotion,
    frames: Iterable[Picture],
    points: Float[Tensor, "n 2"],
    *,
    iterations: int | None = None,
) -> Tracks:
    """Follow points by flow from each frame to the next.

    A point is lost where it leaves the frame, or where flow there and back do not agree: the
    confidence of `Motion`, blended at the point, is at most 1/e. Two frames are in memory at once.

    Args:
        model: In evaluation mode.
        frames: At least two, of one size.
        points: (x, y) in pixels of the first frame.
        iterations: Of the flow decoder, at each scale; None as configured.

    Raises:
        InputError: There are fewer than two frames, a frame cannot be used, or a point does not lie
            in the first.

    Example:
        >>> track(ProMotion().eval(), ["a.png", "b.png"],
        ...       torch.tensor([[10.0, 20.0]])).positions.shape  # doctest: +SKIP
        torch.Size([2, 1, 2])
    """
    positions, visible = [points], [torch.ones(len(points), dtype=torch.bool)]
    for motion in model.predict_frames(frames, iterations=iterations, confidence=True):
        if motion.flow is None:  # of the last frame
            break
        assert motion.confidence is not None  # since it was asked for
        if len(positions) == 1:
            _check_points(points, motion.flow)
        found = torch.cat([motion.flow, motion.confidence[None]]).cpu()
        x, y, confidence = sampled(found, positions[-1].T[:, None])[:, 0]
        moved = positions[-1] + torch.stack([x, y], 1)
        positions.append(moved)
        visible.append(visible[-1] & (confidence > VISIBLE) & _inside(moved, motion.flow))
    if len(positions) < 2:
        raise InputError("frames (fewer than 2) must be at least 2; give more")
    return Tracks(torch.stack(positions), torch.stack(visible))


def _inside(points: Float[Tensor, "n 2"], flow: Float[Tensor, "2 h w"]) -> Bool[Tensor, "n"]:
    last = torch.tensor([flow.shape[-1] - 1, flow.shape[-2] - 1])
    return ((points >= 0) & (points <= last)).all(1)


def _check_points(points: Float[Tensor, "n 2"], flow: Float[Tensor, "2 h w"]) -> None:
    outside = points[~_inside(points, flow)]
    if len(outside):
        height, width = flow.shape[-2:]
        x, y = outside[0].tolist()
        raise InputError(
            f"points ({x:g}, {y:g}) must lie in the first frame, from 0 to {width - 1} and from 0 "
            f"to {height - 1}; leave those outside out"
        )

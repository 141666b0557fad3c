"""A camera that shakes, made steady.

The camera's motion between two frames is taken for a homography, which it is where the camera turns
or looks at something far or flat. Positions of the frame's corners, in pixels of the first frame,
are the camera's path; smoothed by a Gaussian, they are that of a steady camera.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from kornia.geometry.homography import find_homography_dlt_iterated
from kornia.geometry.linalg import transform_points
from kornia.geometry.transform import get_perspective_transform, warp_perspective
from torch import Tensor

from promotion._model import ProMotion
from promotion._motion import Motion
from promotion._pictures import Picture, as_picture
from promotion.nn._matching import grid
from tokenseek_common import InputError

SPACING = 8
"""Pixels between the points that a homography is fitted to."""

INLIER = 1.0
"""Pixels that a point which moves with the camera is off by; of others the weight falls."""

REFITS = 10


def stabilize(
    model: ProMotion,
    frames: Iterable[Picture],
    *,
    radius: int = 15,
    iterations: int | None = None,
) -> Iterator[Float[Tensor, "3 h w"]]:
    """Show frames as a camera would that moves smoothly.

    Frames are looked at twice, two at a time, so that memory does not grow with their number. What
    the steady camera sees and no frame shows is filled with the border's colours.

    Args:
        model: In evaluation mode.
        frames: At least two, of one size; a sequence or what else can be gone through twice.
        radius: Frames to each side that the camera's path is smoothed over: two standard deviations
            of the Gaussian.
        iterations: Of the flow decoder, at each scale; None as configured.

    Yields:
        Each frame, made steady, in [0, 1].

    Raises:
        InputError: There are fewer than two frames, a frame cannot be used, or `radius` is below 1.
    """
    if radius < 1:
        raise InputError(f"radius ({radius}) must be at least 1; raise it")
    if iter(frames) is frames:
        raise InputError("frames (an iterator) must be gone through twice; give a sequence")
    steps = [
        homography_of(motion)
        for motion in model.predict_frames(frames, iterations=iterations, confidence=True)
        if motion.flow is not None  # it is None of the last frame
    ]
    if not steps:
        raise InputError("frames (fewer than 2) must be at least 2; give more")
    height, width = as_picture(next(iter(frames)), "frame").shape[-2:]
    steady_views = steadying(camera_path(steps), (height, width), radius)
    for frame, transform in zip(frames, steady_views, strict=True):
        image = as_picture(frame, "frame")[None]
        steady: Tensor = warp_perspective(
            image, transform[None].to(image), (height, width), padding_mode="border"
        )
        yield steady[0].clamp(0, 1)


def homography_of(motion: Motion) -> Float[Tensor, "3 3"]:
    """The camera's motion, from the second frame's pixels to the first's, fitted robustly."""
    assert motion.flow is not None
    assert motion.confidence is not None
    flow, confidence = motion.flow.cpu().double(), motion.confidence.cpu().double()
    each = (..., slice(SPACING // 2, None, SPACING), slice(SPACING // 2, None, SPACING))
    first = grid(*flow.shape[-2:], like=flow)[each].flatten(1).T[None]
    second = first + flow[each].flatten(1).T[None]
    weights = confidence[each].flatten()[None].clamp_min(1e-6)
    fitted: Tensor = find_homography_dlt_iterated(second, first, weights, INLIER, REFITS)
    return fitted[0]


def camera_path(steps: Sequence[Float[Tensor, "3 3"]]) -> Float[Tensor, "t 3 3"]:
    """From each frame's pixels to the first frame's, by the steps from each frame to the last."""
    path = [torch.eye(3, dtype=torch.float64)]
    for step in steps:
        reached = path[-1] @ step.double()
        path.append(reached / reached[2, 2])
    return torch.stack(path)


def steadying(
    path: Float[Tensor, "t 3 3"], size: tuple[int, int], radius: int
) -> Float[Tensor, "t 3 3"]:
    """From each frame's pixels to those of a steady camera.

    Args:
        path: From each frame's pixels to the first frame's.
        size: Height and width.
        radius: Two standard deviations of the Gaussian, in frames.
    """
    height, width = size
    corners = path.new_tensor([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    corners = corners.expand(len(path), -1, -1)
    shaken = transform_points(path, corners)  # [t, 4, 2]
    number = torch.arange(len(path), dtype=path.dtype)
    weights = (-2 * ((number[:, None] - number) / radius).square()).exp()  # [t, t]
    weights = weights / weights.sum(1, keepdim=True)
    # A path that begins or ends would be drawn to its middle: what is smoothed is its deviation
    # from the line that fits it best around each frame.
    steady = torch.einsum("ts,skc->tkc", _local_lines(weights, number), shaken)
    seen: Tensor = get_perspective_transform(steady, corners) @ path
    return seen


def _local_lines(weights: Float[Tensor, "t t"], number: Float[Tensor, "t"]) -> Float[Tensor, "t t"]:
    """Weights that make of values those of the line which fits them around each frame, there."""
    offsets = number - number[:, None]  # [t, s]
    first = (weights * offsets).sum(1, keepdim=True)
    second = (weights * offsets.square()).sum(1, keepdim=True)
    return weights * (second - first * offsets) / (second - first.square())

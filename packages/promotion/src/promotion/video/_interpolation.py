"""Frames between two frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, tee

import torch
from jaxtyping import Float
from torch import Tensor

from promotion._model import ProMotion
from promotion._motion import Motion
from promotion._pictures import Picture, as_picture
from promotion._sampling import sampled
from promotion.nn._matching import grid
from tokenseek_common import InputError

STEPS = 8
"""Fixed-point steps that find what passes through a pixel."""

LEAST = 1e-3
"""Weight of a pixel that nothing confirms, so that where both frames lack it there is a mean."""


def interpolate(
    model: ProMotion,
    image1: Picture,
    image2: Picture,
    times: Sequence[float] = (0.5,),
    *,
    iterations: int | None = None,
) -> Iterator[Float[Tensor, "3 h w"]]:
    """Make frames between two frames, as if all moved evenly along its flow.

    At time t a pixel x shows what is at p in the first frame, where p + t f(p) = x, and at q in the
    second, where q + (1 - t) b(q) = x, for flow f there and b back; p and q are found by steps to a
    fixed point. Both are blended by (1 - t) and t times the confidence of the flow there.

    Args:
        model: In evaluation mode.
        image1: First frame, as in `ProMotion.predict`.
        image2: Second frame.
        times: From 0, the first frame, to 1, the second.
        iterations: Of the flow decoder, at each scale; None as configured.

    Yields:
        A frame for each time, in [0, 1].

    Raises:
        InputError: A picture cannot be used, the two differ in size, or a time is out of range.

    Example:
        >>> (middle,) = interpolate(ProMotion().eval(), "a.png", "b.png")  # doctest: +SKIP
    """
    _check_times(times)
    first, second = as_picture(image1, "image1"), as_picture(image2, "image2")
    (motions,) = model.predict_both_ways([first, second], iterations=iterations)
    for time in times:
        yield between((first, second), motions, time)


def interpolate_frames(
    model: ProMotion,
    frames: Iterable[Picture],
    times: Sequence[float] = (0.5,),
    *,
    iterations: int | None = None,
) -> Iterator[Float[Tensor, "3 h w"]]:
    """Make frames between all of a sequence, as `interpolate` does, encoding each frame once.

    Args:
        model: In evaluation mode.
        frames: Two or more of one size, read as they are needed; three are in memory.
        times: As of `interpolate`, between each two.
        iterations: As of `interpolate`.

    Yields:
        Every given frame, and behind each but the last those between it and the next; in [0, 1].

    Raises:
        InputError: As of `interpolate`.
    """
    _check_times(times)
    shown, seen = tee(as_picture(frame, "frame") for frame in frames)
    second = None
    pairs = pairwise(shown)
    for motions in model.predict_both_ways(seen, iterations=iterations):
        first, second = next(pairs)
        yield first
        for time in times:
            yield between((first, second), motions, time)
    if second is None:
        raise InputError("frames (fewer than 2) must be at least 2; give more")
    yield second


def _check_times(times: Sequence[float]) -> None:
    for time in times:
        if not 0 <= time <= 1:
            raise InputError(f"times ({time:g}) must be from 0 to 1; leave it out")


def between(
    frames: tuple[Float[Tensor, "3 h w"], Float[Tensor, "3 h w"]],
    motions: tuple[Motion, Motion],
    time: float,
) -> Float[Tensor, "3 h w"]:
    """The frame at a time, by what is known of the motion there and back."""
    shown, weights = [], []
    for frame, motion, passed in zip(frames, motions, (time, 1 - time), strict=True):
        assert motion.flow is not None
        assert motion.confidence is not None
        place = origins(motion.flow.cpu(), passed)
        seen = sampled(torch.cat([frame.cpu(), motion.confidence[None].cpu()]), place)
        shown.append(seen[:3])
        weights.append((1 - passed) * seen[3].clamp_min(LEAST))
    total = weights[0] + weights[1]
    blended: Tensor = (weights[0] * shown[0] + weights[1] * shown[1]) / total
    return blended


def origins(flow: Float[Tensor, "2 h w"], passed: float) -> Float[Tensor, "2 h w"]:
    """From where each pixel has come after a share of the flow: p of p + passed f(p) = x."""
    pixels = grid(*flow.shape[-2:], like=flow)
    place = pixels - passed * flow
    for _ in range(STEPS):
        place = pixels - passed * sampled(flow, place)
    return place

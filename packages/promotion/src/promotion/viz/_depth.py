"""Depth in colours."""

from __future__ import annotations

import math

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from promotion.viz._colours import coloured, palette
from promotion.viz._known import check_scale, known_part
from promotion.viz._legend import amounts, bar_legend, beside
from tokenseek_common import InputError

COLOURS = "plasma"  # from dark blue by red to bright yellow
TICKS = 6


def depth_to_image(
    depth: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"] | None = None,
    *,
    near: float | None = None,
    far: float | None = None,
) -> UInt8[Tensor, "3 h w"]:
    """Colour depth: near is bright, far is dark, and equal ratios of depth look equally far apart.

    Args:
        depth: Depth, in metres.
        valid: Where it is known; the rest is grey.
        near: The depth with the brightest colour; without it, the nearest one that is known.
        far: The depth with the darkest colour; without it, the farthest one that is known.

    Returns:
        The colours.

    Raises:
        InputError: A known depth is not positive or not finite, nothing is known to choose a bound
            by, or the bounds are not in order.
    """
    depth, known, near, far = _bounded(depth, valid, near, far)
    return coloured(_closeness(depth, near, far), COLOURS, known)


def depth_picture(
    depth: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"] | None = None,
    *,
    near: float | None = None,
    far: float | None = None,
    unit: str = "m",
) -> UInt8[Tensor, "3 hh ww"]:
    """Colour depth as `depth_to_image` does, and put a colour bar in its unit beside it.

    Args:
        depth: Depth.
        valid: As of `depth_to_image`, and so on.
        near: As of `depth_to_image`.
        far: As of `depth_to_image`.
        unit: What stands behind the numbers; nothing for depth that is relative.
    """
    depth, known, near, far = _bounded(depth, valid, near, far)
    ticks = [near * (far / near) ** (index / (TICKS - 1)) for index in range(TICKS)]
    below, above = bool((depth[known] < near).any()), bool((depth[known] > far).any())
    legend = bar_legend(
        palette(COLOURS).flip(1),
        amounts(ticks, unit, below=below, above=above),
        height=depth.shape[0],
        unknown=not bool(known.all()),
    )
    return beside(coloured(_closeness(depth, near, far), COLOURS, known), legend)


def _bounded(
    depth: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"] | None,
    near: float | None,
    far: float | None,
) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"], float, float]:
    """Check depth, and choose the bounds that are not given."""
    depth, known = known_part("depth", depth, valid)
    if near is None or far is None:
        check_scale(known, "near and far")
    measured = depth[known]
    if (measured <= 0).any():
        raise InputError(
            f"depth ({measured.min().item():g} m) must be above 0 wherever it is known; "
            "mark the other pixels as not valid"
        )
    # a depth that is the same everywhere has a scale too
    near = measured.min().item() if near is None else near
    far = max(measured.max().item(), 1.1 * near) if far is None else far
    if not 0 < near < far:
        raise InputError(
            f"near ({near:g} m) must be above 0 and below far ({far:g} m); "
            "leave both out to take the range of the depth"
        )
    return depth, known, near, far


def _closeness(depth: Float[Tensor, "h w"], near: float, far: float) -> Float[Tensor, "h w"]:
    """From 0 at `far` to 1 at `near`; any number where depth is 0."""
    return (far / depth).log() / math.log(far / near)

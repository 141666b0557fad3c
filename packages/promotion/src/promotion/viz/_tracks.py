"""Tracks of points, drawn onto a frame."""

from __future__ import annotations

import colorsys

from jaxtyping import Bool, Float, UInt8
from PIL import ImageDraw
from torch import Tensor

from promotion.viz._pillow import from_pillow, to_bytes, to_pillow
from tokenseek_common import InputError


def track_overlay(
    image: Float[Tensor, "3 h w"],
    positions: Float[Tensor, "t n 2"],
    visible: Bool[Tensor, "_ _"],
) -> UInt8[Tensor, "3 h w"]:
    """Draw where points that a frame shows have been: a tail in each one's colour, and a dot.

    Args:
        image: The frame, in [0, 1].
        positions: (x, y) in pixels of each point in some frames, of which this is the last.
        visible: Where it is seen; points that this frame does not show are left out.

    Returns:
        The frame with the tracks, as large as it was. Hues go round from the first point to the
        last, so that neighbours of a grid are told apart by their place and kept by their colour.

    Raises:
        InputError: `visible` is not of the points of `positions`.
    """
    if visible.shape != positions.shape[:2]:
        raise InputError(
            f"visible ({tuple(visible.shape)}) must be {tuple(positions.shape[:2])}, one for each "
            "of positions; take both from one Tracks"
        )
    canvas = to_pillow(to_bytes(image))
    draw = ImageDraw.Draw(canvas)
    radius = max(1, max(canvas.size) // 250)
    count = positions.shape[1]
    for point in visible[-1].nonzero()[:, 0].tolist():
        red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb(point / count, 0.9, 1))
        places = [(x, y) for x, y in positions[:, point].tolist()]
        if len(places) > 1:
            draw.line(places, fill=(red, green, blue), width=radius)
        x, y = places[-1]
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=(red, green, blue))
    return from_pillow(canvas)

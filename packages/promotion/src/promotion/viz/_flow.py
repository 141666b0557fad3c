"""Flow in the colours of Middlebury's benchmark."""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from promotion.viz._colours import UNKNOWN, painted
from promotion.viz._known import check_scale, known_part
from promotion.viz._legend import amount, beside, draw_unknown, font, letter_size, text_width
from promotion.viz._pillow import from_pillow, to_pillow
from tokenseek_common import InputError

WHEEL = (
    (15, (255, 0, 0)),  # red to yellow
    (6, (255, 255, 0)),  # yellow to green
    (4, (0, 255, 0)),  # green to cyan
    (11, (0, 255, 255)),  # cyan to blue
    (13, (0, 0, 255)),  # blue to magenta
    (6, (255, 0, 255)),  # magenta to red
)
"""How many colours each arc of the wheel has, and the first of them."""


def flow_to_image(
    flow: Float[Tensor, "2 h w"],
    valid: Bool[Tensor, "h w"] | None = None,
    *,
    max_norm: float | None = None,
) -> UInt8[Tensor, "3 h w"]:
    """Colour flow: its direction is the hue, its length the saturation.

    No motion is white, and motion to the right red, down yellow, left light blue, up violet.

    Args:
        flow: Flow, in pixels.
        valid: Where it is known; the rest is grey.
        max_norm: The length with full colours, in pixels; longer vectors are darker. Without it,
            the longest vector has them, so pictures of two flows cannot be compared.

    Returns:
        The colours.

    Raises:
        InputError: A known vector is not finite, nothing is known and `max_norm` is not given, or
            that is not positive.

    Source:
        Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011.
    """
    flow, known = known_part("flow", flow, valid)
    return _coloured(flow / _scale(flow, known, max_norm), known)


def flow_picture(
    flow: Float[Tensor, "2 h w"],
    valid: Bool[Tensor, "h w"] | None = None,
    *,
    max_norm: float | None = None,
) -> UInt8[Tensor, "3 hh ww"]:
    """Colour flow as `flow_to_image` does, and put `flow_legend` beside it."""
    flow, known = known_part("flow", flow, valid)
    scale = _scale(flow, known, max_norm)
    unknown = not bool(known.all())
    legend = flow_legend(scale, height=flow.shape[1], unknown=unknown)
    return beside(_coloured(flow / scale, known), to_pillow(legend))


def flow_legend(
    max_norm: float, *, height: int = 0, unknown: bool = False
) -> UInt8[Tensor, "3 h w"]:
    """Draw the colour of every direction as a disc, with its radius in pixels of flow below.

    Args:
        max_norm: The length with full colours, in pixels.
        height: How high the legend is, where that is enough.
        unknown: Whether the legend explains grey as well.

    Returns:
        The legend, white where nothing is drawn.
    """
    em = letter_size(height)
    texts = ["radius", amount(max_norm, "px")]
    radius = max(4 * em, *((text_width(text, em) + 1) // 2 for text in texts))
    disc = _disc(radius)
    size = disc.shape[1]
    needed = em + size + 4 * em + 2 * em * unknown
    legend = Image.new("RGB", (size + 2 * em, max(height, needed)), "white")
    legend.paste(to_pillow(disc), (em, em))

    draw = ImageDraw.Draw(legend)
    middle, y = legend.width // 2, em + size + em
    for text in texts:
        draw.text((middle, y), text, fill="black", font=font(em), anchor="mm")
        y += em + em // 4
    if unknown:
        draw_unknown(draw, (em, y), em)
    return from_pillow(legend)


@functools.cache
def colour_wheel() -> Float[Tensor, "3 55"]:
    """The 55 colours of the wheel, whole numbers from 0 to 255, beginning with red."""
    colours = []
    for arc, (count, start) in enumerate(WHEEL):
        _, end = WHEEL[(arc + 1) % len(WHEEL)]
        for step in range(count):
            moved = 255 * step // count
            ends = zip(start, end, strict=True)
            colours.append([a + moved * ((b > a) - (b < a)) for a, b in ends])
    return torch.tensor(colours, dtype=torch.float32).T


def _coloured(
    relative: Float[Tensor, "2 h w"], known: Bool[Tensor, "h w"]
) -> UInt8[Tensor, "3 h w"]:
    """Colour vectors whose length 1 has full colours."""
    wheel = colour_wheel() / 255
    count = wheel.shape[1]
    length = relative.square().sum(0).sqrt()
    # from -1 at motion to the right, by down, left and up, to 1
    angle = torch.atan2(-relative[1], -relative[0]) / math.pi
    position = (angle + 1) / 2 * (count - 1)
    before = position.floor().long()
    pure = torch.lerp(
        wheel[:, before], wheel[:, (before + 1) % count], (position - before).expand(3, -1, -1)
    )
    faded = 1 - length.clamp(max=1) * (1 - pure)
    # by rounding, the longest vector may be longer than 1
    colour = torch.where(length < 1 + 1e-5, faded, 0.75 * pure)
    return painted((255 * colour).floor().to(torch.uint8), ~known, UNKNOWN)


def _scale(
    flow: Float[Tensor, "2 h w"], known: Bool[Tensor, "h w"], max_norm: float | None
) -> float:
    """The length with full colours: as given, or the longest; 1 px where nothing moves."""
    if max_norm is None:
        check_scale(known, "max_norm")
        return flow.square().sum(0).sqrt().max().item() or 1.0
    if not max_norm > 0:
        raise InputError(
            f"max_norm ({max_norm:g}) must be above 0; leave it out to take the longest vector"
        )
    return max_norm


def _disc(radius: int) -> UInt8[Tensor, "3 d d"]:
    """Every vector up to length 1 in its place; white outside."""
    steps = torch.arange(-radius, radius + 1) / radius
    vectors = torch.stack(torch.meshgrid(steps, steps, indexing="xy"))
    inside = vectors.square().sum(0) <= 1
    return painted(_coloured(vectors, inside), ~inside, (255, 255, 255))

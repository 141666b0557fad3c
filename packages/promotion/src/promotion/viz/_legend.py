"""The strip beside a picture that says what its colours mean."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from promotion.viz._colours import UNKNOWN
from promotion.viz._pillow import from_pillow, to_pillow

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def letter_size(height: int) -> int:
    """The size of the letters beside a picture of some height: all lengths are multiples of it."""
    return max(12, min(28, height // 24))


@functools.cache
def font(size: int) -> Font:
    """Pillow's own font."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """How many pixels a text is wide."""
    return math.ceil(font(size).getlength(text))


def amount(value: float, unit: str) -> str:
    """Write a length with three digits, or all those before the point."""
    digits = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()


def amounts(values: Sequence[float], unit: str, *, below: bool, above: bool) -> list[str]:
    """Write the ticks of a scale, and at its ends whether there are values beyond."""
    texts = [amount(value, unit) for value in values]
    texts[0] = f"<= {texts[0]}" if below else texts[0]
    texts[-1] = f">= {texts[-1]}" if above else texts[-1]
    return texts


def bar_legend(
    colours: UInt8[Tensor, "3 n"], texts: Sequence[str], *, height: int, unknown: bool
) -> Image.Image:
    """Draw a colour bar from bottom to top, with its ticks at equal distances.

    Args:
        colours: The colours, from the bottom.
        texts: What the ticks say, from the bottom.
        height: How high the legend is, where that is enough for its texts.
        unknown: Whether the legend explains grey as well.

    Returns:
        The legend, white where nothing is drawn.
    """
    em = letter_size(height)
    foot = 2 * em if unknown else 0
    height = max(height, 2 * em * len(texts) + foot)
    top, bottom = em, height - em - foot
    tick, text = 2 * em, 2 * em + em // 2
    widest = max(text_width(line, em) for line in [*texts, *["unknown"] * unknown])
    legend = Image.new("RGB", (text + widest + em, height), "white")
    draw = ImageDraw.Draw(legend)

    bar = to_pillow(colours.flip(1)[:, :, None])
    legend.paste(bar.resize((em, bottom - top + 1), Image.Resampling.NEAREST), (em, top))
    draw.rectangle([em, top, 2 * em, bottom], outline="black")  # its end may be white
    for index, line in enumerate(texts):
        y = round(bottom - (bottom - top) * index / (len(texts) - 1))
        draw.line([(tick, y), (tick + em // 4, y)], fill="black")
        draw.text((text, y), line, fill="black", font=font(em), anchor="lm")
    if unknown:
        draw_unknown(draw, (em, height - 2 * em), em)
    return legend


def draw_unknown(draw: ImageDraw.ImageDraw, corner: tuple[int, int], em: int) -> None:
    """Explain grey, in a line whose upper left corner is given."""
    x, y = corner
    draw.rectangle([x, y, x + em - 1, y + em - 1], fill=UNKNOWN)
    draw.text((x + em + em // 2, y + em // 2), "unknown", fill="black", font=font(em), anchor="lm")


def beside(picture: UInt8[Tensor, "3 h w"], legend: Image.Image) -> UInt8[Tensor, "3 hh ww"]:
    """Put a legend to the right of a picture; below the shorter of the two it is white."""
    left = to_pillow(picture)
    size = (left.width + legend.width, max(left.height, legend.height))
    canvas = Image.new("RGB", size, "white")
    canvas.paste(left, (0, 0))
    canvas.paste(legend, (left.width, 0))
    return from_pillow(canvas)

"""Several pictures on one sheet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from jaxtyping import UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from promotion.viz._legend import font, letter_size, text_width
from promotion.viz._pillow import from_pillow, to_pillow
from tokenseek_common import InputError


def grid(
    pictures: Sequence[UInt8[Tensor, "3 _ _"]],
    labels: Sequence[str],
    *,
    columns: int | None = None,
) -> UInt8[Tensor, "3 h w"]:
    """Lay pictures out on a white sheet, row by row, each below its label.

    Args:
        pictures: The pictures, of any sizes.
        labels: One label each; an empty one leaves its place free.
        columns: How many pictures a row has; without it, the sheet is about square.

    Returns:
        The sheet, with columns as wide and rows as high as what is in them needs.

    Raises:
        InputError: There is no picture, or not one label each, or no column.
    """
    if not pictures or len(labels) != len(pictures):
        raise InputError(
            f"labels ({len(labels)} for {len(pictures)} pictures) must be one for each of at "
            'least one picture; give "" where there is nothing to say'
        )
    if columns is not None and columns < 1:
        raise InputError(f"columns ({columns}) must be at least 1; leave it out to have it chosen")
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    columns = min(columns, len(pictures))

    em = letter_size(max(picture.shape[1] for picture in pictures))
    cells = [_cell(picture, label, em) for picture, label in zip(pictures, labels, strict=True)]
    widths = [max(cell.width for cell in cells[column::columns]) for column in range(columns)]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]

    lefts = list(itertools.accumulate(widths, initial=0))
    tops = list(itertools.accumulate(heights, initial=0))
    sheet = Image.new("RGB", (lefts[-1], tops[-1]), "white")
    for top, row in zip(tops, rows, strict=False):
        for left, cell in zip(lefts, row, strict=False):
            sheet.paste(cell, (left, top))
    return from_pillow(sheet)


def _cell(picture: UInt8[Tensor, "3 h w"], label: str, em: int) -> Image.Image:
    """Draw one picture below its label, with a margin around both."""
    margin, head = em // 2, 2 * em
    image = to_pillow(picture)
    width = max(image.width, text_width(label, em))
    cell = Image.new("RGB", (width + 2 * margin, head + image.height + margin), "white")
    ImageDraw.Draw(cell).text((margin, head // 2), label, fill="black", font=font(em), anchor="lm")
    cell.paste(image, (margin, head))
    return cell

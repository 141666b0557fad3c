"""Whether a PNG file holds as many bytes as its header promises; pillow leaves the rest black.

Source:
    https://www.w3.org/TR/png-3/, sections 7.2 and 8.1
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from promotion.io._errors import FileFormatError

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column and row of each pass, and its steps along both."""

_PIECE = 2**20


def check_png_data(file: BinaryIO) -> None:
    """Refuse a PNG file whose pixels are not all there; the file stays where it stands.

    Raises:
        FileFormatError: If fewer bytes unfold from it than its size takes.
    """
    place = file.tell()
    file.seek(8)
    _, _, width, height, bits, colour, _, _, interlaced, _ = struct.unpack(
        ">I4sIIBBBBBI", file.read(25)
    )
    promised = _promised(width, height, bits * _CHANNELS[colour], _ADAM7 if interlaced else _WHOLE)
    unfolded = _unfolded(file, promised)
    file.seek(place)
    if unfolded < promised:
        raise FileFormatError(
            f"{file.name} must hold {width} x {height} pixels, {promised} bytes of them "
            f"({unfolded} found); fetch or write it again"
        )


def _promised(
    width: int, height: int, bits: int, passes: tuple[tuple[int, int, int, int], ...]
) -> int:
    """Bytes of all rows, each with one for its filter."""
    total = 0
    for column, row, step_x, step_y in passes:
        columns, rows = -(-(width - column) // step_x), -(-(height - row) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _unfolded(file: BinaryIO, enough: int) -> int:
    """Bytes that the image data unfold to, counted until there are enough."""
    stream, count = zlib.decompressobj(), 0
    while count < enough and len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            folded = file.read(length)
            while folded and count < enough and not stream.eof:
                count += len(stream.decompress(folded, _PIECE))
                folded = stream.unconsumed_tail
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)
    return count

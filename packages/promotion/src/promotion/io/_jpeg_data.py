"""Whether a JPEG file holds as many blocks as its header promises; libjpeg leaves the rest grey.

What stands behind the last block of a scan is passed over. So the file is read a second time with
other bytes there: where blocks are missing, these become blocks, and the picture changes.

Source:
    ITU-T T.81 (https://www.w3.org/Graphics/JPEG/itu-t81.pdf), annex B
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from promotion.io._errors import FileFormatError

END, SCAN, ADOBE = 0xD9, 0xDA, 0xEE
HUFFMAN = {0xC0, 0xC1, 0xC2}
"""Frames whose missing blocks can be told: baseline, extended and progressive."""

_NOISE = bytes(random.Random(0).choices(range(255), k=2048))
OTHERS = _NOISE + b"".join(bytes([0xFF, 0xD0 + number % 8]) + _NOISE for number in range(16))
"""What becomes blocks where some are missing, also where each few begin behind a marker."""


def check_jpeg_data(file: BinaryIO, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
    """Refuse a JPEG file whose blocks are not all there; the file stays where it stands.

    Args:
        file: The file.
        pixels: As it was read.

    Raises:
        FileFormatError: If blocks are missing.
    """
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    parts = list(_parts(content))
    if not any(marker in HUFFMAN for marker, _ in parts):
        return
    probe = b"".join(
        part + OTHERS * (marker == SCAN)
        for marker, part in parts
        if not 0xE1 <= marker <= 0xEF or marker == ADOBE  # notes, which may hold places in the file
    )
    with Image.open(io.BytesIO(b"\xff\xd8" + probe + b"\xff\xd9"), formats=["JPEG"]) as image:
        again = np.array(image.convert("RGB"))
    if not np.array_equal(again, pixels):
        height, width = pixels.shape[:2]
        raise FileFormatError(
            f"{file.name} must hold {width} x {height} pixels (blocks of them are missing); "
            "fetch or write it again"
        )


def _parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments of the first picture with their markers; a scan's with what is coded in it."""
    place = 2
    while place + 4 <= len(content):
        if content[place] != 0xFF or content[place + 1] == 0xFF:
            place += 1
            continue
        marker = content[place + 1]
        if marker == END:
            return
        if marker <= 0x01 or 0xD0 <= marker <= 0xD8:  # without a length
            place += 2
            continue
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == SCAN:
            end = _end_of_scan(content, end)
        yield marker, content[place:end]
        place = end


def _end_of_scan(content: bytes, place: int) -> int:
    """Where the next marker stands that is no restart."""
    while (place := content.find(b"\xff", place)) >= 0:
        following = content[place + 1 : place + 2]
        if following and following != b"\xff" and not _coded(following[0]):
            return place
        place += 1 if following == b"\xff" else 2
    return len(content)


def _coded(following: int) -> bool:
    return following == 0 or 0xD0 <= following <= 0xD7

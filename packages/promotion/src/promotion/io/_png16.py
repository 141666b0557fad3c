"""PNG files of 16 bits a channel, grey or RGB; pillow reads RGB as 8 bits.

Source:
    https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt16
from kornia_rs.io import decode_image_png_u16

from promotion.io._errors import FileFormatError, reason
from promotion.io._limit import check_pixels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_START = _SIGNATURE + b"\0\0\0\rIHDR"
_COLOUR_TYPES = {1: 0, 3: 2}  # by channels: grey, RGB
_MODES = {1: "mono", 3: "rgb"}
_DEFLATE_LIMIT = 1032  # no byte of a deflate stream unfolds to more


def decode_png16(file: BinaryIO, *, channels: int) -> UInt16[np.ndarray, "h w c"]:
    """Read a PNG file of 16 bits a channel.

    Args:
        file: The file, at its start.
        channels: 1 for grey, 3 for RGB.

    Raises:
        FileFormatError: If it is something else, damaged, or too large to be believed; the last
            is found out before anything is allocated.
    """
    header = file.read(len(_START) + 10)
    if len(header) < len(_START) + 10 or not header.startswith(_START):
        raise FileFormatError(f"{file.name} must be a PNG file; check that it is one")
    width, height, bits, colour = struct.unpack(">IIBB", header[len(_START) :])
    if (bits, colour) != (16, _COLOUR_TYPES[channels]):
        raise FileFormatError(
            f"{file.name} must be a PNG of 16 bits, colour type {_COLOUR_TYPES[channels]} "
            f"({bits} bits, colour type {colour} found); check that it is no ordinary image"
        )
    check_pixels(file.name, height=height, width=width)
    length = os.fstat(file.fileno()).st_size
    if height * (1 + 2 * channels * width) > _DEFLATE_LIMIT * length:
        raise FileFormatError(
            f"{file.name} must hold {width} x {height} pixels, more than {length} bytes can; "
            "fetch or write it again"
        )
    file.seek(0)
    return _decoded(file, (height, width), channels)


def encode_png16(values: UInt16[np.ndarray, "h w c"]) -> bytes:
    """Write a PNG file of 16 bits a channel, grey for one channel and RGB for three.

    Several times faster than kornia_rs, which tries every filter on every row, and into memory.
    """
    height, width, channels = values.shape
    rows = values.astype(">u2", order="C").view(np.uint8).reshape(height, -1)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    up = np.full((height, 1), 2, np.uint8)  # names the filter: each byte less the one above it
    size = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    pixels = zlib.compress(np.hstack([up, rows - above]).tobytes(), level=3)
    return _SIGNATURE + _chunk(b"IHDR", size) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _decoded(file: BinaryIO, size: tuple[int, int], channels: int) -> UInt16[np.ndarray, "h w c"]:
    try:
        values: np.ndarray = decode_image_png_u16(file.read(), size, _MODES[channels])
    except BaseException as error:
        # A panic in Rust is no Exception, and its class cannot be imported.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise FileFormatError(
                f"{file.name} must be an undamaged PNG file ({reason(error)}); "
                "fetch or write it again"
            ) from error
        raise
    return values


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )

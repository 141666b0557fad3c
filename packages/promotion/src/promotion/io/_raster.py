"""The rest of a file as a raster of 32-bit floats, row by row."""

from __future__ import annotations

import math
import os
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32

from promotion.io._errors import FileFormatError


def read_raster(
    file: BinaryIO, *, height: int, width: int, channels: int, dtype: str
) -> Float32[np.ndarray, "h w c"]:
    """Read what follows a header, if it is as long as the header says.

    Args:
        file: The file, just behind its header.
        height: As the header says.
        width: As the header says.
        channels: Floats a pixel.
        dtype: ``"<f4"`` or ``">f4"``.

    Raises:
        FileFormatError: If the file is longer or shorter; nothing is allocated before that.
    """
    if min(height, width) < 1:
        raise FileFormatError(
            f"{file.name} must be at least 1 x 1 pixels ({width} x {height} found); "
            "fetch or write it again"
        )
    shape = (height, width, channels)
    expected = math.prod(shape) * 4
    found = os.fstat(file.fileno()).st_size - file.tell()
    if found != expected:
        numbers = "1 number" if channels == 1 else f"{channels} numbers"
        raise FileFormatError(
            f"{file.name} must hold {width} x {height} pixels of {numbers}, {expected} bytes after "
            f"its header ({found} found); fetch or write it again"
        )
    stored = np.fromfile(file, dtype, count=math.prod(shape))
    return stored.astype(np.float32, copy=False).reshape(shape)

"""Middlebury's ``.flo`` and Sintel's ``.dpt``: a tag, the size, floats row by row.

``PIEH | int32 width | int32 height | float32 of row 0, row 1, ...``, all little-endian. The tag is
202021.25 as a float. Flow beyond 1e9 is unknown; Sintel knows every depth.

Source:
    https://vision.middlebury.edu/flow/code/flow-code/README.txt
    http://sintel.is.tue.mpg.de/depth
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32

from promotion.io._codec import Codec
from promotion.io._errors import FileFormatError
from promotion.io._raster import read_raster

_TAG = b"PIEH"
_UNKNOWN_FLOW = 1e10  # what Middlebury's own code writes


def decode_flo(file: BinaryIO) -> Float32[np.ndarray, "h w 2"]:
    """Read a ``.flo`` file."""
    return _decode(file, channels=2)


def encode_flo(path: Path, flow: Float32[np.ndarray, "h w 2"]) -> bytes:
    """Write a ``.flo`` file."""
    return _encode(np.nan_to_num(flow, nan=_UNKNOWN_FLOW))


def decode_dpt(file: BinaryIO) -> Float32[np.ndarray, "h w"]:
    """Read a ``.dpt`` file."""
    return _decode(file, channels=1)[..., 0]


def encode_dpt(path: Path, depth: Float32[np.ndarray, "h w"]) -> bytes:
    """Write a ``.dpt`` file; the format has no unknown depth, but no real depth is 0."""
    return _encode(np.nan_to_num(depth, nan=0))


FLO = Codec(decode_flo, encode_flo)
DPT = Codec(decode_dpt, encode_dpt)


def _decode(file: BinaryIO, *, channels: int) -> Float32[np.ndarray, "h w c"]:
    header = file.read(12)
    if len(header) < 12 or not header.startswith(_TAG):
        raise FileFormatError(
            f"{file.name} must begin with the tag PIEH and its size; "
            "check that it is what its suffix says"
        )
    width, height = struct.unpack("<ii", header[4:])
    return read_raster(file, height=height, width=width, channels=channels, dtype="<f4")


def _encode(values: Float32[np.ndarray, "h w ..."]) -> bytes:
    height, width = values.shape[:2]
    return _TAG + struct.pack("<ii", width, height) + values.astype("<f4").tobytes()

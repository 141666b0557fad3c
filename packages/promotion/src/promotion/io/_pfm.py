r"""Portable float maps, ``.pfm``: three text lines, then floats from the bottom row to the top.

``PF`` (three channels) or ``Pf`` (one), ``width height``, and a scale whose sign says the byte
order: below 0 it is little-endian. Its magnitude is left aside, as others do: Middlebury's files
have a display range there. Flow takes the first two of three channels; inf is unknown.

Source:
    https://www.pauldebevec.com/Research/HDR/PFM/
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32

from promotion.io._codec import Codec
from promotion.io._errors import FileFormatError
from promotion.io._raster import read_raster

_GAP = rb"\s(?:\s|(?<=\n)#[^\n]*\n)*"  # blanks, and lines of comment
# The scale is not 0.
_HEADER = re.compile(
    rb"(?P<kind>P[Ff])"
    + _GAP
    + rb"(?P<width>\d{1,9})"
    + _GAP
    + rb"(?P<height>\d{1,9})"
    + _GAP
    + rb"(?P<sign>[+-]?)(?=[\d.]*[1-9])\d{0,40}\.?\d{0,40}([eE][+-]?\d+)?[ \t]*\r?\n"
)
_LONGEST_HEADER = 1024


def decode_pfm_flow(file: BinaryIO) -> Float32[np.ndarray, "h w 2"]:
    """Read flow; the third channel is unused."""
    return _decode(file, kind="PF", channels=3)[..., :2]


def encode_pfm_flow(path: Path, flow: Float32[np.ndarray, "h w 2"]) -> bytes:
    """Write flow, 0 in the third channel."""
    return _encode("PF", np.pad(flow, ((0, 0), (0, 0), (0, 1))))


def decode_pfm_depth(file: BinaryIO) -> Float32[np.ndarray, "h w"]:
    """Read depth."""
    return _decode(file, kind="Pf", channels=1)[..., 0]


def encode_pfm_depth(path: Path, depth: Float32[np.ndarray, "h w"]) -> bytes:
    """Write depth."""
    return _encode("Pf", depth)


PFM_FLOW = Codec(decode_pfm_flow, encode_pfm_flow)
PFM_DEPTH = Codec(decode_pfm_depth, encode_pfm_depth)


def _decode(file: BinaryIO, *, kind: str, channels: int) -> Float32[np.ndarray, "h w c"]:
    header = _HEADER.match(file.read(_LONGEST_HEADER))
    if header is None or header["kind"] != kind.encode():
        raise FileFormatError(
            f"{file.name} must begin with {kind}, its size and a scale that is not 0, a line each; "
            f"check that it is a PFM file of {channels} channel{'s' * (channels > 1)}"
        )
    file.seek(header.end())
    values = read_raster(
        file,
        height=int(header["height"]),
        width=int(header["width"]),
        channels=channels,
        dtype="<f4" if header["sign"] == b"-" else ">f4",
    )
    return values[::-1].copy()


def _encode(kind: str, values: Float32[np.ndarray, "h w ..."]) -> bytes:
    height, width = values.shape[:2]
    rows = np.where(np.isnan(values), np.inf, values)[::-1].astype("<f4")
    return f"{kind}\n{width} {height}\n-1.0\n".encode() + rows.tobytes()

"""Spring's flow, ``.flo5``: HDF5 with one array ``flow``, `[h, w, 2]`, NaN where it is unknown.

Source:
    https://spring-benchmark.org (data format)
"""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float32

from promotion.io._codec import Codec
from promotion.io._errors import FileFormatError, reason
from promotion.io._limit import check_pixels
from tokenseek_common import InputError

_NAME = "flow"


def decode_hdf5_flow(file: BinaryIO) -> Float32[np.ndarray, "h w 2"]:
    """Read flow."""
    h5py = _h5py(file.name)
    try:
        with h5py.File(file, "r") as stored:
            return _flow(stored, file.name)
    except FileFormatError:
        raise
    except Exception as error:  # h5py raises half a dozen kinds for damaged bytes
        raise FileFormatError(
            f"{file.name} must be an undamaged HDF5 file ({reason(error)}); fetch or write it again"
        ) from error


def encode_hdf5_flow(path: Path, flow: Float32[np.ndarray, "h w 2"]) -> bytes:
    """Write flow, deflated."""
    buffer = io.BytesIO()
    with _h5py(path).File(buffer, "w") as stored:
        stored.create_dataset(_NAME, data=flow, compression="gzip")
    return buffer.getvalue()


HDF5_FLOW = Codec(decode_hdf5_flow, encode_hdf5_flow)


def _flow(stored: Any, name: str) -> Float32[np.ndarray, "h w 2"]:
    if _NAME not in stored or not hasattr(stored[_NAME], "shape"):
        raise FileFormatError(f"{name} must hold an array {_NAME}; check that it is flow of Spring")
    array = stored[_NAME]
    shape = tuple(array.shape)
    if len(shape) != 3 or shape[-1] != 2 or 0 in shape or array.dtype.kind != "f":
        raise FileFormatError(
            f"{name} must hold floating {_NAME} of [h, w, 2] ({array.dtype} {list(shape)} found); "
            "check that it is flow of Spring"
        )
    check_pixels(name, height=shape[0], width=shape[1])
    values: np.ndarray = array[()]
    return values.astype(np.float32)


def _h5py(name: object) -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError:
        raise InputError(
            f"{name} must be opened with h5py, which is absent; "
            'pip install "promotion-flow[spring]"'
        ) from None

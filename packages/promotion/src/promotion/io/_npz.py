"""``.npz``: ``flow`` as float32 `[2, h, w]` or ``depth`` as float32 `[h, w]`, ``valid`` as bool.

The members are read by their headers, never unpickled: what a header claims is checked against
what the archive holds before any of it is unfolded.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from promotion.io._codec import Codec
from promotion.io._errors import FileFormatError, reason
from promotion.io._limit import check_pixels


def decode_npz_flow(file: BinaryIO) -> Float32[np.ndarray, "h w 2"]:
    """Read flow."""
    flow, valid = _decode(file, "flow", (2,))
    return np.where(valid[..., None], np.moveaxis(flow, 0, -1), np.float32("nan"))


def encode_npz_flow(path: Path, flow: Float32[np.ndarray, "h w 2"]) -> bytes:
    """Write flow."""
    return _encode("flow", np.moveaxis(flow, -1, 0), ~np.isnan(flow[..., 0]))


def decode_npz_depth(file: BinaryIO) -> Float32[np.ndarray, "h w"]:
    """Read depth."""
    depth, valid = _decode(file, "depth", ())
    return np.where(valid, depth, np.float32("nan"))


def encode_npz_depth(path: Path, depth: Float32[np.ndarray, "h w"]) -> bytes:
    """Write depth."""
    return _encode("depth", depth, ~np.isnan(depth))


NPZ_FLOW = Codec(decode_npz_flow, encode_npz_flow)
NPZ_DEPTH = Codec(decode_npz_depth, encode_npz_depth)


def _decode(
    file: BinaryIO, key: str, channels: tuple[int, ...]
) -> tuple[Float32[np.ndarray, "..."], Bool[np.ndarray, "h w"]]:
    try:
        with zipfile.ZipFile(file) as archive:
            values = _member(archive, file.name, key, np.dtype("<f4"), (*channels, None, None))
            size = values.shape[-2:]
            if "valid.npy" not in archive.namelist():
                return values, np.full(size, True)
            return values, _member(archive, file.name, "valid", np.dtype("?"), size)
    except FileFormatError:
        raise
    except Exception as error:  # zipfile and numpy raise a dozen kinds for damaged bytes
        raise FileFormatError(
            f"{file.name} must be an undamaged .npz file ({reason(error)}); fetch or write it again"
        ) from error


def _member(
    archive: zipfile.ZipFile, name: str, key: str, dtype: np.dtype, shape: tuple[int | None, ...]
) -> Shaped[np.ndarray, "..."]:
    """Read an array of this type and shape; None fits any size."""
    if f"{key}.npy" not in archive.namelist():
        raise FileFormatError(f"{name} must hold {key}; write it with numpy.savez({key}=...)")
    info = archive.getinfo(f"{key}.npy")
    # The others unfold to any size at one go.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileFormatError(
            f"{name} must be stored or deflated; write it with numpy.savez or savez_compressed"
        )
    with archive.open(info) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise FileFormatError(
                f"{name} must hold {key} in npy format 1.0; write it with numpy.savez"
            )
        found, fortran, found_dtype = np.lib.format.read_array_header_1_0(member)
        fits = len(found) == len(shape) and all(
            n > 0 and wanted in (None, n) for n, wanted in zip(found, shape, strict=True)
        )
        if not fits or found_dtype != dtype:
            expected = ", ".join("any" if n is None else str(n) for n in shape)
            raise FileFormatError(
                f"{name} must hold {key} as {dtype.name} [{expected}] "
                f"({found_dtype.str} {list(found)} found); convert it"
            )
        check_pixels(name, height=found[-2], width=found[-1])
        length = math.prod(found) * dtype.itemsize
        if info.file_size != member.tell() + length:
            raise FileFormatError(
                f"{name} must hold {length} bytes of {key} "
                f"({info.file_size - member.tell()} found); fetch or write it again"
            )
        content = member.read(length)  # never more, whatever the archive unfolds to
    return np.frombuffer(content, dtype).reshape(found, order="F" if fortran else "C")


def _encode(key: str, values: Float32[np.ndarray, "..."], valid: Bool[np.ndarray, "h w"]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{key: np.nan_to_num(values, nan=0), "valid": valid})
    return buffer.getvalue()

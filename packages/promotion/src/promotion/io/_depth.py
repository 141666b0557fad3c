"""Depth files by their suffix."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from promotion.io._codec import by_suffix
from promotion.io._files import opened, replace_file
from promotion.io._kitti import DEPTH_PNG
from promotion.io._known import check_layout, first_of
from promotion.io._maps import DepthMap
from promotion.io._npz import NPZ_DEPTH
from promotion.io._pfm import PFM_DEPTH
from promotion.io._tagged import DPT
from tokenseek_common import InputError

_FORMATS = {".dpt": DPT, ".npz": NPZ_DEPTH, ".pfm": PFM_DEPTH, ".png": DEPTH_PNG}


def read_depth(path: str | os.PathLike[str], *, scale: int | float | None = None) -> DepthMap:
    """Read depth.

    Args:
        path: Its suffix tells the format: ``.dpt`` (Sintel), ``.pfm``, ``.png`` (grey, 16 bits) or
            ``.npz`` (``depth`` as float32 `[h, w]`, and ``valid`` as bool `[h, w]`, which may be
            absent).
        scale: Stored units to the metre. A ``.png`` does not say, so it must be given there: 256
            for KITTI, 1000 for NYU and 7-Scenes, 5000 for TUM. The others hold metres, unless it
            is given.

    Returns:
        The depth. It is known where the file says so (``.npz``), and never where it is 0, below 0
        or not finite, nor where a ``.png`` holds 65535, whatever the scale: 7-Scenes means
        "unknown" by it, and others "too far to say".

    Raises:
        InputError: If the file is missing or unreadable, its suffix unknown, or the scale missing
            or not a positive number.
        FileFormatError: If it is not what its suffix says.

    Example:
        >>> read_depth("depth/0000000005.png", scale=256).depth.max()
        tensor(79.8633)
    """
    path = Path(path)
    codec = by_suffix(path, _FORMATS)
    scale = _checked(scale, path)
    with opened(path) as file:
        stored = torch.from_numpy(codec.decode(file))
    depth = (stored.double() / scale).float()
    valid = depth.isfinite() & (depth > 0)
    return DepthMap(depth.where(valid, 0), valid)


def write_depth(
    path: str | os.PathLike[str],
    depth: Tensor,
    valid: Tensor | None = None,
    *,
    scale: int | float | None = None,
) -> None:
    """Write depth, replacing the file as a whole.

    Args:
        path: Its suffix tells the format, as in `read_depth`. ``.png`` rounds to a whole number of
            units, and the others to float32.
        depth: `[h, w]`, in metres.
        valid: `[h, w]`, where the depth is known; where it is not 0 if left out. What the depth is
            elsewhere does not matter.
        scale: Stored units to the metre, as in `read_depth`.

    Raises:
        InputError: If the shapes are wrong, if the depth is not finite or not above 0 where it is
            known, if the suffix is unknown or the scale missing, or if the file cannot be written.
        FileFormatError: If the format cannot hold the depth, such as 300 m in a ``.png`` of 256
            units to the metre.

    Example:
        >>> write_depth("0000000005.png", torch.full((375, 1242), 12.5), scale=256)
    """
    path = Path(path)
    codec = by_suffix(path, _FORMATS)
    scale = _checked(scale, path)
    check_layout("depth", depth, (), valid)
    depth = depth.detach().cpu()
    known = (depth != 0 if valid is None else valid.cpu()).numpy()
    units = (depth.double() * scale).float().numpy()
    wrong = ~(np.isfinite(units) & (units > 0)) & known
    if wrong.any():
        raise InputError(
            f"depth ({first_of(depth.double().numpy(), wrong)}) must be finite and above 0 where "
            "it is valid; mark it invalid there"
        )
    replace_file(path, codec.encode(path, np.where(known, units, np.float32("nan"))))


def _checked(scale: int | float | None, path: Path) -> float:
    if scale is None and path.suffix.lower() == ".png":
        raise InputError(
            f"scale (None) must be given for {path}, since a PNG does not say its unit; "
            "take 256 for KITTI, 1000 for NYU and 7-Scenes, 5000 for TUM"
        )
    if scale is None:
        return 1.0
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(
            f"scale ({scale}) must be a positive number; give stored units to the metre"
        )
    return float(scale)

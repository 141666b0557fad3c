"""Flow files by their suffix."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from promotion.io._codec import by_suffix
from promotion.io._files import opened, replace_file
from promotion.io._hdf5 import HDF5_FLOW
from promotion.io._kitti import KITTI_FLOW, decode_normalized_flow
from promotion.io._known import check_layout, first_of
from promotion.io._maps import FlowMap
from promotion.io._npz import NPZ_FLOW
from promotion.io._pfm import PFM_FLOW
from promotion.io._tagged import FLO
from tokenseek_common import InputError

_FORMATS = {
    ".flo": FLO,
    ".flo5": HDF5_FLOW,
    ".npz": NPZ_FLOW,
    ".pfm": PFM_FLOW,
    ".png": KITTI_FLOW,
}
_LARGEST = 1e9  # Middlebury: what is beyond is unknown


def read_flow(path: str | os.PathLike[str], *, normalized: bool = False) -> FlowMap:
    """Read optical flow.

    Args:
        path: Its suffix tells the format: ``.flo`` (Middlebury, FlyingChairs, Sintel), ``.pfm``
            (FlyingThings3D), ``.png`` (KITTI, HD1K, Virtual KITTI), ``.flo5`` (Spring; takes the
            extra ``[spring]``) or ``.npz`` (``flow`` as float32 `[2, h, w]`, and ``valid`` as bool
            `[h, w]`, which may be absent).
        normalized: Whether a ``.png`` counts in widths and heights of the picture, as Virtual
            KITTI's does and nothing in the file tells.

    Returns:
        The flow. It is known where the file says so (``.png``, ``.npz``), and never where it is not
        finite or beyond 1e9 pixels.

    Raises:
        InputError: If the file is missing or unreadable, its suffix unknown, or `normalized` with
            another suffix than ``.png``.
        FileFormatError: If it is not what its suffix says.

    Example:
        >>> read_flow("flow_occ/000000_10.png").flow.shape
        torch.Size([2, 375, 1242])
    """
    path = Path(path)
    decode = by_suffix(path, _FORMATS).decode
    if normalized:
        if path.suffix.lower() != ".png":
            raise InputError(f"normalized (True) must go with a .png ({path}); leave it out")
        decode = decode_normalized_flow
    with opened(path) as file:
        stored = torch.from_numpy(decode(file)).permute(2, 0, 1)
    valid = (stored.abs() <= _LARGEST).all(0)
    return FlowMap(stored.where(valid, 0).contiguous(), valid)


def write_flow(path: str | os.PathLike[str], flow: Tensor, valid: Tensor | None = None) -> None:
    """Write optical flow, replacing the file as a whole.

    Args:
        path: Its suffix tells the format, as in `read_flow`. ``.png`` is KITTI's and rounds to
            1/64 pixel, and the others to float32.
        flow: `[2, h, w]`, in pixels (right, down).
        valid: `[h, w]`, where the flow is known; everywhere if left out. What the flow is elsewhere
            does not matter.

    Raises:
        InputError: If the shapes are wrong, if the flow is not finite or beyond 1e9 pixels where it
            is known, if the suffix is unknown, or if the file cannot be written.
        FileFormatError: If the format cannot hold the flow, such as 600 pixels in a ``.png``.

    Example:
        >>> write_flow("000000_10.flo", torch.zeros(2, 375, 1242))
    """
    path = Path(path)
    codec = by_suffix(path, _FORMATS)
    check_layout("flow", flow, (2,), valid)
    values = flow.detach().cpu().float().permute(1, 2, 0).numpy()
    known = np.full(values.shape[:2], True) if valid is None else valid.cpu().numpy()
    wrong = ~(np.abs(values) <= _LARGEST) & known[..., None]
    if wrong.any():
        raise InputError(
            f"flow ({first_of(values, wrong)}) must be finite and at most 1e9 pixels where it is "
            "valid; mark it invalid there"
        )
    replace_file(path, codec.encode(path, np.where(known[..., None], values, np.float32("nan"))))

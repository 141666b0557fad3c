"""KITTI's PNG files of 16 bits a channel; HD1K's flow is the same.

Flow is RGB: ``u = (R - 2^15) / 64``, ``v = (G - 2^15) / 64``, known where B is not 0. Virtual KITTI
counts in pictures: ``u = (2 R / (2^16 - 1) - 1) (w - 1)`` and ``v`` alike, with G and h. Depth is
grey: whole units of a scale, 0 where it is unknown.

Source:
    https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php?benchmark=flow (development kit)
    https://europe.naverlabs.com/research/computer-vision/proxy-virtual-worlds-vkitti-2
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32

from promotion.io._codec import Codec
from promotion.io._errors import FileFormatError
from promotion.io._known import first_of
from promotion.io._png16 import decode_png16, encode_png16

_ZERO = 2**15
_STEPS = 64  # a pixel
_MOST = 2**16 - 1


def decode_kitti_flow(file: BinaryIO) -> Float32[np.ndarray, "h w 2"]:
    """Read flow."""
    stored = decode_png16(file, channels=3)
    flow = (stored[..., :2].astype(np.float32) - _ZERO) / _STEPS
    flow[stored[..., 2] == 0] = np.nan
    return flow


def decode_normalized_flow(file: BinaryIO) -> Float32[np.ndarray, "h w 2"]:
    """Read flow of Virtual KITTI."""
    stored = decode_png16(file, channels=3)
    height, width = stored.shape[:2]
    shares = 2 * (stored[..., :2].astype(np.float64) / _MOST) - 1
    flow: np.ndarray = (shares * [width - 1, height - 1]).astype(np.float32)
    flow[stored[..., 2] == 0] = np.nan
    return flow


def encode_kitti_flow(path: Path, flow: Float32[np.ndarray, "h w 2"]) -> bytes:
    """Write flow, rounded to 1/64 pixel."""
    steps = np.rint(flow.astype(np.float64) * _STEPS) + _ZERO
    beyond = (steps < 0) | (steps > _MOST)
    if beyond.any():
        raise FileFormatError(
            f"{path} must hold flow between -512 and 511.984 pixels ({first_of(flow, beyond)}); "
            "write .flo, .npz or .pfm instead"
        )
    known = np.isfinite(steps[..., :1])
    stored = np.concatenate([steps, np.ones_like(steps[..., :1])], axis=-1)
    return encode_png16(np.where(known, stored, 0).astype(np.uint16))


def decode_depth_png(file: BinaryIO) -> Float32[np.ndarray, "h w"]:
    """Read depth; the largest number is what overflows, and never measured."""
    stored = decode_png16(file, channels=1)[..., 0].astype(np.float32)
    stored[stored == _MOST] = np.nan
    return stored


def encode_depth_png(path: Path, depth: Float32[np.ndarray, "h w"]) -> bytes:
    """Write depth, rounded to a whole number of units."""
    units = np.rint(depth)
    beyond = (units < 1) | (units >= _MOST)
    if beyond.any():
        raise FileFormatError(
            f"{path} must hold depth between 1 and {_MOST - 1} units of the scale "
            f"({first_of(depth, beyond)}); choose another scale, or write "
            ".dpt, .npz or .pfm instead"
        )
    return encode_png16(np.nan_to_num(units, nan=0).astype(np.uint16)[..., None])


KITTI_FLOW = Codec(decode_kitti_flow, encode_kitti_flow)
DEPTH_PNG = Codec(decode_depth_png, encode_depth_png)

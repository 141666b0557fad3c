"""A file of flow or depth, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from promotion.io import FileFormatError, read_depth, read_flow
from promotion.metrics import endpoint_error
from promotion.viz import depth_picture, flow_picture
from tokenseek_common import InputError

Kind = Literal["flow", "depth"]

BOTH_SUFFIXES = (".npz", ".pfm", ".png")
"""Of flow and of depth alike."""

METRIC_SUFFIXES = (".dpt", ".png")
"""Of depth in metres: Sintel's, and what `depth_scale` says."""

SUFFIXES = (".flo", ".dpt", *BOTH_SUFFIXES)
"""Of files, in the order in which they are looked for in a folder."""


@dataclass(frozen=True)
class Map:
    """What a file holds, and where it is known."""

    path: Path
    kind: Kind
    values: Float[Tensor, "*c h w"]
    valid: Bool[Tensor, "h w"]

    @property
    def size(self) -> str:
        """Columns and rows."""
        return f"{self.values.shape[-1]} x {self.values.shape[-2]}"

    @property
    def lengths(self) -> Float[Tensor, "n"]:
        """The known motion in pixels, or the known depth."""
        flow = self.kind == "flow"
        return (self.values.norm(dim=0) if flow else self.values)[self.valid]

    @property
    def unit(self) -> str:
        """Of its lengths; of a depth whose format says none, nothing: it may be relative."""
        if self.kind == "flow":
            return "px"
        return "m" if self.path.suffix.lower() in METRIC_SUFFIXES else ""

    def reduced(self, step: int) -> Map:
        """Every so many rows and columns."""
        values, valid = self.values[..., ::step, ::step], self.valid[::step, ::step]
        return Map(self.path, self.kind, values.clone(), valid.clone())

    def picture(self, least: float, largest: float) -> UInt8[Tensor, "3 hh ww"]:
        """Draw it, in a scale from the least to the largest length."""
        if self.kind == "flow":
            return flow_picture(self.values, self.valid, max_norm=largest or 1.0)
        far = max(largest, 1.1 * least)
        return depth_picture(self.values, self.valid, near=least, far=far, unit=self.unit)


def read_map(path: Path, depth_scale: float | None) -> Map:
    """Read a file, and tell by what is in it whether it is flow or depth.

    Args:
        path: The file.
        depth_scale: Stored units to the metre, which a .png does not say.

    Raises:
        InputError: It cannot be read, is neither, knows no pixel, or lacks its scale.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path} must end in one of {', '.join(SUFFIXES)}; choose another file")
    found = _depth(path, depth_scale) if suffix == ".dpt" else _flow(path, depth_scale)
    if not found.valid.any():
        raise InputError(f"{path} must have a known pixel to be drawn; choose another file")
    return found


def _flow(path: Path, depth_scale: float | None) -> Map:
    try:
        flow = read_flow(path)
    except FileFormatError:
        if path.suffix.lower() not in BOTH_SUFFIXES:
            raise
        return _depth(path, depth_scale)
    return Map(path, "flow", flow.flow, flow.valid)


def _depth(path: Path, depth_scale: float | None) -> Map:
    stored_in_units = path.suffix.lower() == ".png"
    try:
        depth = read_depth(path, scale=(depth_scale or 1) if stored_in_units else None)
    except FileFormatError as error:
        if path.suffix.lower() not in BOTH_SUFFIXES:
            raise
        raise InputError(
            f"{path} must hold flow or depth, undamaged; check what it is, or fetch it again"
        ) from error
    if stored_in_units and depth_scale is None:
        raise InputError(
            f"depth_scale (None) must be given for {path}, since a PNG does not say its unit; "
            "choose --depth-scale 256 for KITTI, 1000 for NYU and 7-Scenes, 5000 for TUM"
        )
    return Map(path, "depth", depth.depth, depth.valid)


def error_of(found: Map, truth: Map) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """How far a map is from the truth, in pixels or metres, and where that is known.

    Raises:
        InputError: They are not of one kind and size, or share no known pixel.
    """
    if (found.kind, found.size) != (truth.kind, truth.size):
        raise InputError(
            f"truth ({truth.path}, {truth.kind} of {truth.size}) must be what {found.path} is, "
            f"{found.kind} of {found.size}; choose another --truth"
        )
    known = found.valid & truth.valid
    if not known.any():
        raise InputError(
            f"truth ({truth.path}) must be known where {found.path} is, at one pixel at least; "
            "choose another --truth"
        )
    if found.kind == "flow":
        return endpoint_error(found.values, truth.values), known
    return torch.abs(found.values - truth.values), known

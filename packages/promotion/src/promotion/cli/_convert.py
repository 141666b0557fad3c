"""`promotion convert`: flow and depth files in other formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from promotion.cli._natural import listed
from promotion.cli._viz_maps import SUFFIXES, Map, read_map
from promotion.io import read_depth, read_flow, write_depth, write_flow
from tokenseek_common import InputError
from tokenseek_common.cli import CommonOptions, Console, check_folder, check_positive, fresh_folder

READ = (*SUFFIXES, ".flo5")

FORMATS = {"flow": ("flo", "flo5", "npz", "pfm", "png"), "depth": ("dpt", "npz", "pfm", "png")}
"""What each kind can be written as; png is KITTI's."""


@dataclass(frozen=True)
class Converted:
    """A file that was written, and what it lost: nothing where both are 0."""

    source: Path
    output: Path
    rounded_by: float
    """At most, in pixels or the unit of depth."""

    changed_validity: int
    """Pixels that are known in one of both files alone."""


@dataclass(frozen=True, kw_only=True)
class Convert(CommonOptions):
    """Write flow and depth files in another format, and tell what that loses.

    What a file holds decides whether it is flow or depth. Each is written, read again, and compared
    with what it was: rounding, and pixels that are known in one of both alone, are told.
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Files of flow (.flo, .flo5, KITTI's .png, .pfm, .npz) or depth (.pfm, .dpt, .png, .npz), or
    one folder of them."""

    to: Literal["flo", "flo5", "npz", "pfm", "png", "dpt"]
    """The format: flow takes all but dpt, depth dpt, npz, pfm and png."""

    depth_scale: float | None = None
    """Units to the metre of depth in .png, read or written: 256 for KITTI, 1000 for NYU and
    7-Scenes, 5000 for TUM."""

    written_scale: float | None = None
    """Units to the metre of depth that is written as .png; by default as --depth-scale."""

    def __post_init__(self) -> None:
        super().__post_init__()
        scales = {"depth_scale": self.depth_scale, "written_scale": self.written_scale}
        check_positive(scales)
        if not self.files:
            raise InputError("files (none) must be at least one file; name one, or a folder")

    def run(self, console: Console) -> None:
        """Read all files once before the first is written."""
        check_folder(self.output)
        paths = _listed(self.files)
        for path in paths:
            self._check(path, self._read(path))
        folder = fresh_folder(self.output, default="promotion-convert")
        converted = []
        with console.progress("converting", total=len(paths)) as progress:
            for path in paths:
                converted.append(self._convert(self._read(path), folder))
                progress.advance()
        for each in converted:
            console.print(f"{each.output}: {_told(each)}")
        console.result({"output": folder, "files": converted})

    def _read(self, path: Path) -> Map:
        if path.suffix.lower() == ".flo5":
            found = read_flow(path)
            return Map(path, "flow", found.flow, found.valid)
        return read_map(path, self.depth_scale)

    def _check(self, path: Path, found: Map) -> None:
        if self.to not in FORMATS[found.kind]:
            raise InputError(
                f"to ({self.to}) must be one of {', '.join(FORMATS[found.kind])} for {path}, which "
                f"holds {found.kind}; choose another --to"
            )
        if found.kind == "depth" and self.to == "png" and self._scale is None:
            raise InputError(
                f"written_scale (None) must be given for {path}, since a PNG does not say its unit;"
                " choose --written-scale 256 for KITTI, 1000 for NYU and 7-Scenes, 5000 for TUM"
            )

    @property
    def _scale(self) -> float | None:
        return self.written_scale or self.depth_scale

    def _convert(self, found: Map, folder: Path) -> Converted:
        path = folder / f"{found.path.stem}.{self.to}"
        if found.kind == "flow":
            write_flow(path, found.values, found.valid)
            flow = read_flow(path)
            values, valid = flow.flow, flow.valid
        else:
            scale = self._scale if self.to == "png" else None
            write_depth(path, found.values, found.valid, scale=scale)
            depth = read_depth(path, scale=scale)
            values, valid = depth.depth, depth.valid
        both = found.valid & valid
        apart = (values - found.values).abs()[..., both]
        rounded = float(apart.max()) if apart.numel() else 0.0
        return Converted(found.path, path, rounded, int((found.valid ^ valid).sum()))


def _told(converted: Converted) -> str:
    told = []
    if converted.rounded_by:
        told.append(f"rounded by up to {converted.rounded_by:.3g}")
    if converted.changed_validity:
        told.append(f"{converted.changed_validity} pixels are no longer known, or newly")
    return ", ".join(told) or "nothing is lost"


def _listed(files: Sequence[Path]) -> list[Path]:
    """The files, none of which would get the name of another."""
    paths = list(files)
    if len(files) == 1 and files[0].is_dir():
        paths = listed(files[0], READ)
        if not paths:
            raise InputError(
                f"files ({files[0]}) must hold files that end in one of {', '.join(READ)}; choose "
                "another folder"
            )
    named: dict[str, Path] = {}
    for path in paths:
        other = named.setdefault(path.stem, path)
        if other is not path:
            raise InputError(
                f"files ({other} and {path}) must differ in their names, which what is written "
                "gets; convert them one by one"
            )
    return paths

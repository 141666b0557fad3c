"""`promotion viz`: pictures of flow and depth files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from jaxtyping import UInt8
from torch import Tensor

from promotion.cli._animation import animate, every, sparse
from promotion.cli._natural import listed
from promotion.cli._viz_maps import SUFFIXES, Kind, error_of, read_map
from promotion.viz import error_picture, save_picture
from tokenseek_common import InputError
from tokenseek_common.cli import CommonOptions, Console, check_folder, check_positive, fresh_folder


@dataclass(frozen=True)
class Range:
    """What one scale must cover: motion in pixels, or depth in metres."""

    kind: Kind
    least: float
    largest: float


@dataclass(frozen=True)
class Error:
    """How far a file is from the truth."""

    picture: UInt8[Tensor, "3 h w"]
    mean: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class Viz(CommonOptions):
    """Draw flow and depth files, each with the meaning of its colours.

    What a file holds decides whether it is drawn as flow or depth. Pictures are called a_flow.png
    or a_depth.png. Of a folder, all files of one kind are drawn in one scale, and flow.gif or
    depth.gif shows them, or a hundred of them, one after the other: those that end in .flo, or else
    .dpt, .npz, .pfm or .png.
    """

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Files of flow (.flo, KITTI's .png, .pfm, .npz) or depth (.pfm, .dpt, .png, .npz), or one
    folder of them."""

    output: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", aliases=("-o",))] = None
    """Where to write: a new or empty folder. Without it, beside the files."""

    truth: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """What one file should hold: its errors are drawn as well, as a_error.png."""

    depth_scale: float | None = None
    """Units to the metre of depth in .png: 256 for KITTI, 1000 for NYU and 7-Scenes, 5000 for
    TUM."""

    max_flow: float | None = None
    """Motion with full colours, in pixels; by default the longest of the file or the folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive({"depth_scale": self.depth_scale, "max_flow": self.max_flow})
        if not self.files:
            raise InputError("files (none) must be at least one file; name one, or a folder")

    def run(self, console: Console) -> None:
        """Draw what the files hold; all of them are read before the first picture is written."""
        check_folder(self.output)
        sequence = len(self.files) == 1 and self.files[0].is_dir()
        paths = _listed(self.files[0]) if sequence else list(self.files)
        if self.truth is not None and (sequence or len(paths) > 1):
            raise InputError(f"truth ({self.truth}) must belong to one file; name that file alone")
        ranges = [self._range(path) for path in paths]
        if sequence:
            ranges = [_common(paths, ranges)] * len(paths)
        targets = self._targets(paths, ranges, sequence=sequence)
        error = self._error(paths[0])
        if self.output is not None:
            fresh_folder(self.output, default="promotion-viz")
        frames, shown = [], set(sparse(paths))
        for path, drawn, target in zip(paths, ranges, targets, strict=False):
            found = read_map(path, self.depth_scale)
            save_picture(target, found.picture(drawn.least, drawn.largest))
            if sequence and path in shown:
                small = found.reduced(every(*found.valid.shape))
                frames.append(small.picture(drawn.least, drawn.largest))
        if sequence:
            animate(targets[-1], frames)
        if error is not None:
            save_picture(targets[-1], error.picture)
            console.print(f"mean error {error.mean:.4g} {error.unit}".rstrip())
        for target in targets:
            console.print(target)
        figures = {} if error is None else {"mean_error": error.mean, "unit": error.unit}
        console.result({"pictures": targets, **figures})

    def _range(self, path: Path) -> Range:
        found = read_map(path, self.depth_scale)
        lengths = found.lengths
        largest = float(lengths.max())
        if found.kind == "flow":
            largest = self.max_flow or largest
        return Range(found.kind, float(lengths.min()), largest)

    def _targets(
        self, paths: Sequence[Path], ranges: Sequence[Range], *, sequence: bool
    ) -> list[Path]:
        """The pictures that will be written, none of which exists."""
        named = [(path, each.kind) for path, each in zip(paths, ranges, strict=True)]
        places = [self.output.expanduser() if self.output else path.parent for path in paths]
        targets = [
            place / f"{path.stem}_{kind}.png"
            for place, (path, kind) in zip(places, named, strict=True)
        ]
        if sequence:
            targets.append(places[0] / f"{ranges[0].kind}.gif")
        if self.truth is not None:
            targets.append(places[0] / f"{paths[0].stem}_error.png")
        for number, target in enumerate(targets):
            if target.exists():
                raise InputError(
                    f"{target} must not exist yet; move it away, or choose --output FOLDER"
                )
            if target in targets[:number]:
                raise InputError(
                    f"{target} must be the picture of one file alone; draw files of one name "
                    "one by one"
                )
        return targets

    def _error(self, path: Path) -> Error | None:
        if self.truth is None:
            return None
        found = read_map(path, self.depth_scale)
        truth = read_map(self.truth, self.depth_scale)
        error, known = error_of(found, truth)
        unit = found.unit if found.unit == truth.unit else ""
        return Error(error_picture(error, known, unit=unit), float(error[known].mean()), unit)


def _listed(folder: Path) -> list[Path]:
    for suffix in SUFFIXES:
        if paths := listed(folder, {suffix}):
            return paths
    raise InputError(
        f"files ({folder}) must hold files that end in one of {', '.join(SUFFIXES)}; "
        "choose another folder"
    )


def _common(paths: Sequence[Path], ranges: Sequence[Range]) -> Range:
    """What covers the maps of a folder, which are of one kind."""
    for path, each in zip(paths, ranges, strict=True):
        if each.kind != ranges[0].kind:
            raise InputError(
                f"{path} ({each.kind}) must be of the kind of {paths[0]} ({ranges[0].kind}); "
                "draw them one by one"
            )
    least, largest = min(each.least for each in ranges), max(each.largest for each in ranges)
    return Range(ranges[0].kind, least, largest)

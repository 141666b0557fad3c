"""Which of the known layouts a folder has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from promotion.datasets._depth_folders import kitti_depth, rgbd
from promotion.datasets._flow_folders import (
    flying_chairs,
    kitti_2012,
    kitti_2015,
    middlebury_flow,
    stereo,
)
from promotion.datasets._folder import FolderDataset
from promotion.datasets._sequences import flying_things, hd1k, sintel, spring, virtual_kitti
from tokenseek_common import InputError

LayoutName = Literal[
    "flying-chairs",
    "flying-things",
    "flying-things-final",
    "sintel",
    "sintel-final",
    "kitti-2012",
    "kitti-2015",
    "hd1k",
    "spring",
    "virtual-kitti",
    "middlebury-flow",
    "middlebury-2014",
    "kitti-depth",
    "tum",
    "7-scenes",
    "nyu",
]

_WITHIN = (".", "data", "training", "train")  # where a downloaded set has its files
_MOST_FOUND = 5  # of what a folder holds are named when it is refused


class Layout(NamedTuple):
    """How the files of a data set are called."""

    name: LayoutName
    files: Sequence[str]
    """Patterns, one of which must be followed by a file."""
    open: Callable[[Path], FolderDataset]


def _tum(folder: Path) -> FolderDataset:
    return rgbd(folder, image="rgb/*.png", depth="depth/*.png", scale=5000, within=0.02, step=1)


_ROOMS = [f"{within}frame-*" for within in ("*/", "*/*/", "")]


def _seven_scenes(folder: Path) -> FolderDataset:
    images = [f"{frame}.color.{suffix}" for suffix in ("png", "jpg") for frame in _ROOMS]
    depths = [f"{frame}.depth.png" for frame in _ROOMS]
    return rgbd(folder, image=images, depth=depths, scale=1000, step=1)


def _nyu(folder: Path) -> FolderDataset:
    return rgbd(folder, image="*/rgb_*.jpg", depth="*/sync_depth_*.png", scale=1000)


def _middlebury(folder: Path) -> FolderDataset:
    return stereo(folder, left="*/im0.png", right="*/im1.png", disparity="*/disp0.pfm")


def _kitti_depth(folder: Path) -> FolderDataset:
    return kitti_depth(folder, folder)


_KITTI_2012 = ["colored_0/*_10.png", "image_0/*_10.png"]
_DEPTH_MAPS = "*_sync/proj_depth/groundtruth/image_*/*.png"

LAYOUTS: Sequence[Layout] = (
    Layout("flying-chairs", ["*_flow.flo"], flying_chairs),
    Layout("flying-things", ["frames_cleanpass/TRAIN/*/*/left/*.png"], flying_things),
    Layout(
        "flying-things-final",
        ["frames_finalpass/TRAIN/*/*/left/*.png"],
        functools.partial(flying_things, render="finalpass"),
    ),
    Layout("sintel", ["clean/*/frame_*.png"], sintel),
    Layout("sintel-final", ["final/*/frame_*.png"], functools.partial(sintel, render="final")),
    Layout("kitti-2012", _KITTI_2012, kitti_2012),
    Layout("kitti-2015", ["flow_occ/*_10.png"], kitti_2015),
    Layout("hd1k", ["hd1k_flow_gt/flow_occ/*.png"], hd1k),
    Layout("spring", ["*/flow_FW_left/*.flo5"], spring),
    Layout("virtual-kitti", ["*/*/frames/forwardFlow/Camera_*/flow_*.png"], virtual_kitti),
    Layout("middlebury-flow", ["other-gt-flow/*/flow10.flo"], middlebury_flow),
    Layout("middlebury-2014", ["*/disp0.pfm"], _middlebury),
    Layout("kitti-depth", [_DEPTH_MAPS, f"*/{_DEPTH_MAPS}"], _kitti_depth),
    Layout("tum", ["depth/*.png"], _tum),
    Layout("7-scenes", [f"{frame}.depth.png" for frame in _ROOMS], _seven_scenes),
    Layout("nyu", ["*/sync_depth_*.png"], _nyu),
)
"""The first that fits is taken, unless one is asked for by its name."""


@functools.cache
def open_folder(folder: Path, layout: LayoutName | None = None) -> FolderDataset:
    """Open a data set by what its files are called.

    Known by these names: flying-chairs (and what `promotion synth` writes), flying-things, sintel
    (both with the clean frames, and with the others as flying-things-final and sintel-final),
    kitti-2012, kitti-2015, hd1k, spring, virtual-kitti, middlebury-flow, middlebury-2014 (stereo),
    kitti-depth (depth maps and recordings in one folder), tum, 7-scenes and nyu
    (``<scene>/rgb_00000.jpg``, ``<scene>/sync_depth_00000.png``). A folder is listed once in a
    process.

    Args:
        folder: The set's folder, or its ``data``, ``training`` or ``train``.
        layout: The name of its layout; None takes the first that fits.

    Raises:
        InputError: If the folder is missing, does not have the layout or any that is known, or
            lacks files.

    Example:
        >>> len(open_folder(Path("FlyingChairs_release")))
        22872
    """
    candidates = [known for known in LAYOUTS if layout in (None, known.name)]
    if not candidates:
        names = ", ".join(known.name for known in LAYOUTS)
        raise InputError(f"layout ({layout}) must be one of {names}; choose one")
    if not folder.is_dir():
        raise InputError(f"{folder} must be a folder; check the path")
    for within in _WITHIN:
        for known in candidates:
            if any(next((folder / within).glob(name), None) for name in known.files):
                return known.open(folder / within)
    raise InputError(
        f"{folder} must hold files of a known layout: {_looked_for(candidates)}; it holds "
        f"{_found(folder)}; arrange the files so, or open them with one of the functions of "
        "promotion.datasets"
    )


def _looked_for(layouts: Sequence[Layout]) -> str:
    """The names of files, each with the layout that it stands for."""
    return ", ".join(f"{' or '.join(files)} ({name})" for name, files, _ in layouts)


def _found(folder: Path) -> str:
    """What a folder holds, in short."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    if not names:
        return "nothing"
    more = len(names) - _MOST_FOUND
    return ", ".join(names[:_MOST_FOUND]) + (f" and {more} more" if more > 0 else "")

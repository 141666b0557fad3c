"""Which of the known layouts a folder has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from promotion.datasets._depth_folders import rgbd
from promotion.datasets._flow_folders import flying_chairs, kitti_2015, sintel, stereo
from promotion.datasets._folder import FolderDataset
from tokenseek_common import InputError


def _tum(folder: Path) -> FolderDataset:
    return rgbd(folder, image="rgb/*.png", depth="depth/*.png", scale=5000, within=0.02, step=1)


def _seven_scenes(folder: Path) -> FolderDataset:
    image, depth = "*/frame-*.color.png", "*/frame-*.depth.png"
    return rgbd(folder, image=image, depth=depth, scale=1000, step=1)


def _nyu(folder: Path) -> FolderDataset:
    return rgbd(folder, image="*/rgb_*.jpg", depth="*/sync_depth_*.png", scale=1000)


def _middlebury(folder: Path) -> FolderDataset:
    return stereo(folder, left="*/im0.png", right="*/im1.png", disparity="*/disp0.pfm")


# Name, what one of its files is called, and how it is opened.
_LAYOUTS: tuple[tuple[str, str, Callable[[Path], FolderDataset]], ...] = (
    ("FlyingChairs", "*_flow.flo", flying_chairs),
    ("Sintel", "flow/*/frame_*.flo", sintel),
    ("KITTI 2015", "flow_occ/*_10.png", kitti_2015),
    ("TUM", "depth/*.png", _tum),
    ("7-Scenes", "*/frame-*.depth.png", _seven_scenes),
    ("NYU", "*/sync_depth_*.png", _nyu),
    ("Middlebury 2014", "*/disp0.pfm", _middlebury),
)
_WITHIN = (".", "data", "training")  # where a downloaded set has its files


@functools.cache
def open_folder(folder: Path) -> FolderDataset:
    """Open a data set by what its files are called.

    FlyingChairs and what `promotion synth` writes, Sintel (the clean frames), KITTI 2015, TUM,
    7-Scenes, NYU (``<scene>/rgb_00000.jpg``, ``<scene>/sync_depth_00000.png``) and Middlebury
    2014 are known. A folder is listed once in a process.

    Args:
        folder: The set's folder, or its ``data`` or ``training``.

    Raises:
        InputError: If the folder is missing, follows no known layout, or lacks files.

    Example:
        >>> len(open_folder(Path("FlyingChairs_release")))
        22872
    """
    if not folder.is_dir():
        raise InputError(f"{folder} must be a folder; check the path")
    for within in _WITHIN:
        for _, name, opener in _LAYOUTS:
            if next((folder / within).glob(name), None):
                return opener(folder / within)
    known = ", ".join(name for name, _, _ in _LAYOUTS)
    raise InputError(
        f"{folder} must be laid out as one of {known}; arrange its files so, or open it with one "
        "of the functions of promotion.datasets"
    )

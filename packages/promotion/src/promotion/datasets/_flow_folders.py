"""The layouts of well-known data sets with flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from promotion.datasets._folder import FolderDataset
from promotion.datasets._matching import Pattern, match, present


def flying_chairs(folder: Path) -> FolderDataset:
    """FlyingChairs, and what `promotion synth` writes.

    Reads ``00001_img1.ppm`` and ``00001_img2.ppm`` (or ``.png``) with ``00001_flow.flo``, and
    where there are any, ``00001_depth1.pfm``, in metres, and ``00001_occlusion.png``.

    Args:
        folder: Where they lie.

    Raises:
        InputError: If there are none, or one lacks a partner.
    """
    patterns = {
        "flow": Pattern(folder, ["*_flow.flo"]),
        "image1": Pattern(folder, ["*_img1.ppm", "*_img1.png"]),
        "image2": Pattern(folder, ["*_img2.ppm", "*_img2.png"]),
    }
    optional = {
        "depth": Pattern(folder, ["*_depth1.pfm"]),
        "occlusion": Pattern(folder, ["*_occlusion.png"]),
    }
    patterns |= present(optional)
    return FolderDataset(match("flow", patterns, complete=True))


def kitti_2015(folder: Path, *, flow: str = "flow_occ") -> FolderDataset:
    """KITTI 2015's training part.

    Reads ``image_2/000000_10.png``, ``image_2/000000_11.png`` and ``flow_occ/000000_10.png``; where
    ``flow_noc/000000_10.png`` is there, occluded pixels are known too.

    Args:
        folder: The folder ``training``.
        flow: Which truth: ``"flow_occ"``, of all pixels, or ``"flow_noc"``, of those that stay in
            the frame.

    Raises:
        InputError: If there is no flow, or some lacks a partner.
    """
    return _kitti(folder, flow, ["image_2"])


def kitti_2012(folder: Path, *, flow: str = "flow_occ") -> FolderDataset:
    """KITTI 2012's training part, in colour where that is there.

    Reads ``colored_0/000000_10.png`` (or ``image_0``, which is grey), the same of ``_11``, and flow
    as `kitti_2015` does.

    Args:
        folder: The folder ``training``.
        flow: Which truth, as in `kitti_2015`.

    Raises:
        InputError: If there is no flow, or some lacks a partner.
    """
    return _kitti(folder, flow, ["colored_0", "image_0"])


def middlebury_flow(folder: Path) -> FolderDataset:
    """Middlebury's optical flow sets with public truth.

    Reads ``other-data/Grove2/frame10.png``, ``frame11.png`` beside it and
    ``other-gt-flow/Grove2/flow10.flo``.

    Args:
        folder: The folder that holds both.

    Raises:
        InputError: If there is no flow, or some lacks a partner.
    """
    patterns = {
        "flow": Pattern(folder, ["other-gt-flow/*/flow10.flo"]),
        "image1": Pattern(folder, ["other-data/*/frame10.png"]),
        "image2": Pattern(folder, ["other-data/*/frame11.png"]),
    }
    return FolderDataset(match("flow", patterns))


def stereo(
    folder: Path, *, left: str, right: str, disparity: str, scale: int | float = 1
) -> FolderDataset:
    """Rectified stereo pairs: disparity d is the flow (-d, 0) from the left frame to the right.

    Args:
        folder: Where they lie.
        left: Names of the left frames, such as ``"*/view1.png"``; ``*`` stands for what the files
            of one pair have in common.
        right: Names of the right frames.
        disparity: Names of the left frames' disparity: ``.pfm``, or ``.png`` of 8 or 16 bits, 0
            where unknown.
        scale: Stored units to the pixel: 256 for KITTI, 4 for Middlebury 2003 at quarter size.

    Raises:
        InputError: If there is no disparity, or some lacks a partner.

    Example:
        >>> pairs = stereo(Path("Middlebury2006"), left="*/view1.png", right="*/view5.png",
        ...                disparity="*/disp1.png")
    """
    patterns = {
        "disparity": Pattern(folder, [disparity]),
        "image1": Pattern(folder, [left]),
        "image2": Pattern(folder, [right]),
    }
    matched = match("disparity", patterns)
    return FolderDataset([replace(files, disparity_scale=scale) for files in matched])


def _kitti(folder: Path, flow: str, cameras: Sequence[str]) -> FolderDataset:
    camera = next((name for name in cameras if (folder / name).is_dir()), cameras[0])
    patterns = {
        "flow": Pattern(folder, [f"{flow}/*_10.png"]),
        "image1": Pattern(folder, [f"{camera}/*_10.png"]),
        "image2": Pattern(folder, [f"{camera}/*_11.png"]),
    }
    optional = {"flow_visible": Pattern(folder, ["flow_noc/*_10.png"])}
    return FolderDataset(match("flow", patterns | present(optional)))

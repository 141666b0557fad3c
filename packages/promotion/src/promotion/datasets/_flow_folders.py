"""The layouts of well-known data sets with flow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from promotion.datasets._folder import FolderDataset
from promotion.datasets._matching import Pattern, match, present
from tokenseek_common import InputError


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


def sintel(folder: Path, *, render: str = "clean") -> FolderDataset:
    """MPI Sintel's training part, with depth and masks of flow where they are there.

    Reads ``clean/alley_1/frame_0001.png`` and the frame after it, ``flow/alley_1/frame_0001.flo``,
    ``invalid/alley_1/frame_0001.png``, ``occlusions/alley_1/frame_0001.png`` and
    ``depth/alley_1/frame_0001.dpt``.

    Args:
        folder: The folder ``training``.
        render: Which frames: ``"clean"`` or ``"final"``.

    Raises:
        InputError: If there is no flow, or some lacks a partner.
    """
    patterns = {
        "flow": Pattern(folder, ["flow/*/frame_*.flo"]),
        "image1": Pattern(folder, [f"{render}/*/frame_*.png"]),
    }
    optional = {
        "flow_invalid": Pattern(folder, ["invalid/*/frame_*.png"]),
        "occlusion": Pattern(folder, ["occlusions/*/frame_*.png"]),
        "depth": Pattern(folder, ["depth/*/frame_*.dpt"]),
    }
    patterns |= present(optional)
    samples = []
    for files in match("flow", patterns):
        number = int(files.image1.stem.removeprefix("frame_"))
        image2 = files.image1.with_name(f"frame_{number + 1:04d}.png")
        if not image2.is_file():
            raise InputError(
                f"{files.flow} must have a partner {image2}; add it, "
                f"or take {files.image1.stem}.flo away"
            )
        samples.append(replace(files, image2=image2))
    return FolderDataset(samples)


def kitti_2015(folder: Path, *, flow: str = "flow_occ") -> FolderDataset:
    """KITTI 2015's training part.

    Reads ``image_2/000000_10.png``, ``image_2/000000_11.png`` and ``flow_occ/000000_10.png``.

    Args:
        folder: The folder ``training``.
        flow: Which truth: ``"flow_occ"``, of all pixels, or ``"flow_noc"``, of those that stay in
            the frame.

    Raises:
        InputError: If there is no flow, or some lacks a partner.
    """
    patterns = {
        "flow": Pattern(folder, [f"{flow}/*_10.png"]),
        "image1": Pattern(folder, ["image_2/*_10.png"]),
        "image2": Pattern(folder, ["image_2/*_11.png"]),
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

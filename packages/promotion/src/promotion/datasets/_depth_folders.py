"""The layouts of well-known data sets with depth."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from promotion.datasets._files import SampleFiles
from promotion.datasets._folder import FolderDataset
from promotion.datasets._matching import Pattern, match
from tokenseek_common import InputError


def kitti_depth(depths: Path, images: Path) -> FolderDataset:
    """KITTI's depth maps and the raw recordings that they belong to; frames stand alone.

    Reads ``<drive>/proj_depth/groundtruth/image_02/0000000005.png`` and, in any folder,
    ``<drive>/image_02/data/0000000005.png`` (or ``.jpg``); the same of ``image_03``.

    Args:
        depths: Such as ``data_depth_annotated/train``.
        images: The folder above the days' folders.

    Raises:
        InputError: If there is no depth, or some lacks its frame.
    """
    names = [f"**/*_sync/image_*/data/*.{suffix}" for suffix in ("png", "jpg")]
    patterns = {
        "depth": Pattern(depths, ["**/*_sync/proj_depth/groundtruth/image_*/*.png"]),
        "image1": Pattern(images, names),
    }
    return FolderDataset([replace(f, depth_scale=256) for f in match("depth", patterns)])


def rgbd(
    folder: Path,
    *,
    image: str,
    depth: str,
    scale: int | float,
    within: float | None = None,
    step: int = 0,
) -> FolderDataset:
    """Frames of a depth camera.

    Args:
        folder: Where they lie.
        image: Names of the frames, such as ``"frame-*.color.jpg"``; ``*`` stands for what the
            files of one frame have in common.
        depth: Names of the depth files.
        scale: Stored units to the metre: 1000 for NYU and 7-Scenes, 5000 for TUM.
        within: For names that are times (TUM): each frame takes the depth that is nearest in time
            if it is within as many seconds, and is left out otherwise.
        step: Which later frame of the same folder is the second one; 0, or none so late, lets the
            first stand twice.

    Raises:
        InputError: If there is no depth, or some lacks its frame.

    Example:
        >>> dataset = rgbd(Path("freiburg1_desk"), image="rgb/*.png", depth="depth/*.png",
        ...                scale=5000, within=0.02, step=1)
    """
    patterns = {"depth": Pattern(folder, [depth]), "image1": Pattern(folder, [image])}
    if within is None:
        matched = match("depth", patterns)
    else:
        matched = _nearest_in_time(patterns["image1"], patterns["depth"], within)
    samples = [replace(files, depth_scale=scale) for files in matched]
    later = samples[step:] if step else []
    with_partners = [
        replace(sample, image2=partner.image1)
        if partner and partner.image1.parent == sample.image1.parent
        else sample
        for sample, partner in itertools.zip_longest(samples, later)
    ]
    return FolderDataset(with_partners)


def _nearest_in_time(images: Pattern, depths: Pattern, within: float) -> list[SampleFiles]:
    frames, maps = images.find(), depths.find()
    times, depth_times = _times(frames), _times(maps)
    depth_files = list(maps.values())
    matched = []
    for time, frame in zip(times, frames.values(), strict=True):
        apart = np.abs(depth_times - time)
        if len(apart) and apart.min() <= within:
            matched.append(SampleFiles(image1=frame, depth=depth_files[apart.argmin()]))
    if not matched:
        raise InputError(
            f"{images.folder} must hold files {images.names[0]} and {depths.names[0]} whose times "
            f"differ by at most {within:g} seconds; check the folder"
        )
    return matched


def _times(files: dict[tuple[str, ...], Path]) -> Float[np.ndarray, "n"]:
    times = []
    for key, path in files.items():
        try:
            times.append(float(key[-1]))
        except ValueError:
            raise InputError(
                f"{path} must be named after its time in seconds; leave out `within` to match "
                "equal names"
            ) from None
    return np.array(times, dtype=np.float64)

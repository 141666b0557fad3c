"""The layouts of well-known data sets with depth."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from promotion.datasets._files import SampleFiles
from promotion.datasets._folder import FolderDataset
from promotion.datasets._matching import Pattern, match
from tokenseek_common import InputError


def kitti_depth(depths: Path, images: Path, *, split: Path | None = None) -> FolderDataset:
    """KITTI's depth maps and the raw recordings that they belong to; frames stand alone.

    Reads ``<drive>/proj_depth/groundtruth/image_02/0000000005.png`` and, in any folder,
    ``<drive>/image_02/data/0000000005.png`` (or ``.jpg``); the same of ``image_03``.

    Args:
        depths: Such as ``data_depth_annotated/train``, or the folder above several.
        images: The folder above the days' folders.
        split: A file of which each line begins with the path of a frame, and goes on with that of
            its depth or with ``None``, as those of Eigen's split do: the frames that are wanted.
            Lines with ``None`` are left out. The names of drive, camera and frame are what counts.

    Raises:
        InputError: If there is no depth, if some lacks its frame, or if a line names no frame or
            one that is missing.
    """
    names = [f"**/*_sync/image_*/data/*.{suffix}" for suffix in ("png", "jpg")]
    patterns = {
        "depth": Pattern(depths, ["**/*_sync/proj_depth/groundtruth/image_*/*.png"]),
        "image1": Pattern(images, names),
    }
    matched = match("depth", patterns, only=None if split is None else _listed(split))
    return FolderDataset([replace(files, depth_scale=256) for files in matched])


def rgbd(
    folder: Path,
    *,
    image: str | Sequence[str],
    depth: str | Sequence[str],
    scale: int | float,
    within: float | None = None,
    step: int = 0,
) -> FolderDataset:
    """Frames of a depth camera.

    Args:
        folder: Where they lie.
        image: Names of the frames, such as ``"frame-*.color.jpg"``; ``*`` stands for what the
            files of one frame have in common. Several: a file follows one of them.
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
    images, depths = ([n] if isinstance(n, str) else n for n in (image, depth))
    patterns = {"depth": Pattern(folder, depths), "image1": Pattern(folder, images)}
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


_FRAME = re.compile(r"(\w+)_sync/image_(\d\d)/data/(\d+)\.(?:png|jpg)$")


def _listed(split: Path) -> list[tuple[str, ...]]:
    """Drive, camera and frame of each line that has depth."""
    try:
        lines = split.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"split ({split}) must be a readable text file; check the path") from error
    listed = []
    for number, line in enumerate(lines, 1):
        columns = line.split()
        if not columns or columns[1:2] == ["None"]:
            continue
        frame = _FRAME.search(columns[0])
        if frame is None:
            raise InputError(
                f"line {number} of split ({split}) must begin with a frame such as "
                f"DAY/DRIVE_sync/image_02/data/0000000005.png ({columns[0]}); check the file"
            )
        listed.append(frame.groups())
    if not listed:
        raise InputError(f"split ({split}) must name a frame with depth; check the file")
    return listed


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

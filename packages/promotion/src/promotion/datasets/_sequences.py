"""The layouts of well-known data sets of sequences, where each frame's partner is the next one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from promotion.datasets._files import SampleFiles
from promotion.datasets._folder import FolderDataset
from promotion.datasets._matching import Pattern, match, present
from tokenseek_common import InputError


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
    return FolderDataset(list(_in_order(match("flow", patterns | present(optional)))))


def flying_things(
    folder: Path,
    *,
    render: Literal["cleanpass", "finalpass"] = "cleanpass",
    part: Literal["TRAIN", "TEST"] = "TRAIN",
    direction: Literal["future", "past"] = "future",
) -> FolderDataset:
    """FlyingThings3D's left frames.

    Reads ``frames_cleanpass/TRAIN/A/0000/left/0006.png`` and the frame after it, and
    ``optical_flow/TRAIN/A/0000/into_future/left/OpticalFlowIntoFuture_0006_L.pfm``. The last flow
    of each sequence leads to a frame that was never published, and is left out.

    Args:
        folder: The folder that holds ``optical_flow``.
        render: Which frames.
        part: Which part.
        direction: Whether to the next frame or to the one before.

    Raises:
        InputError: If there is no flow, or some lacks a partner.
    """
    flow = f"into_{direction}/left/OpticalFlowInto{direction.capitalize()}_*_L.pfm"
    patterns = {
        "flow": Pattern(folder, [f"optical_flow/{part}/*/*/{flow}"]),
        "image1": Pattern(folder, [f"frames_{render}/{part}/*/*/left/*.png"]),
    }
    step = 1 if direction == "future" else -1
    return FolderDataset(list(_in_order(match("flow", patterns), step=step, open_end=True)))


def hd1k(folder: Path) -> FolderDataset:
    """HD1K's training part.

    Reads ``hd1k_input/image_2/000000_0010.png`` and the frame after it, and
    ``hd1k_flow_gt/flow_occ/000000_0010.png``; the last flow of each sequence is left out.

    Args:
        folder: The folder that holds ``hd1k_input``.

    Raises:
        InputError: If there is no flow, or some lacks a partner.
    """
    patterns = {
        "flow": Pattern(folder, ["hd1k_flow_gt/flow_occ/*_*.png"]),
        "image1": Pattern(folder, ["hd1k_input/image_2/*_*.png"]),
    }
    return FolderDataset(list(_in_order(match("flow", patterns), open_end=True)))


def spring(folder: Path) -> FolderDataset:
    """Spring's training part, left frames forward; flow of twice the size, of which every second.

    Reads ``0001/frame_left/frame_left_0001.png`` and the frame after it, and
    ``0001/flow_FW_left/flow_FW_left_0001.flo5``. Takes the extra ``[spring]``.

    Args:
        folder: The folder ``train``.

    Raises:
        InputError: If there is no flow, or some lacks a partner.
    """
    patterns = {
        "flow": Pattern(folder, ["*/flow_FW_left/flow_FW_left_*.flo5"]),
        "image1": Pattern(folder, ["*/frame_left/frame_left_*.png"]),
    }
    matched = match("flow", patterns)
    return FolderDataset([replace(files, flow_stride=2) for files in _in_order(matched)])


def virtual_kitti(folder: Path) -> FolderDataset:
    """Virtual KITTI 2, in all its weathers and from both cameras, with depth where it is there.

    Reads ``Scene01/clone/frames/rgb/Camera_0/rgb_00001.jpg`` and the frame after it,
    ``Scene01/clone/frames/forwardFlow/Camera_0/flow_00001.png`` and
    ``Scene01/clone/frames/depth/Camera_0/depth_00001.png``.

    Args:
        folder: The folder of the scenes.

    Raises:
        InputError: If there is no flow, or some lacks a partner.
    """
    frames = "*/*/frames"
    patterns = {
        "flow": Pattern(folder, [f"{frames}/forwardFlow/Camera_*/flow_*.png"]),
        "image1": Pattern(folder, [f"{frames}/rgb/Camera_*/rgb_*.jpg"]),
    }
    optional = {"depth": Pattern(folder, [f"{frames}/depth/Camera_*/depth_*.png"])}
    matched = match("flow", patterns | present(optional))
    centimetres = 100  # to the metre
    return FolderDataset(
        [
            replace(files, flow_normalized=True, depth_scale=centimetres)
            for files in _in_order(matched, open_end=True)
        ]
    )


def _in_order(
    samples: Sequence[SampleFiles], *, step: int = 1, open_end: bool = False
) -> Iterator[SampleFiles]:
    """Give each sample the frame as its second one whose number is `step` further.

    Args:
        samples: With the first frames, whose names end in their number.
        step: 1 for the next frame, -1 for the one before.
        open_end: Whether flow at the end of a sequence may lead to a frame that is not there.

    Raises:
        InputError: If that frame is missing; at the end of a sequence only without `open_end`.
    """
    ends: dict[str, int] = {}
    for sample in samples:
        sequence, number = _numbered(sample.image1)
        ends[sequence] = max(ends.get(sequence, number), number, key=lambda n: step * n)
    for sample in samples:
        sequence, number = _numbered(sample.image1)
        image2 = _renumbered(sample.image1, number + step)
        if image2.is_file():
            yield replace(sample, image2=image2)
        elif not (open_end and number == ends[sequence]):
            name = (sample.flow or sample.image1).name
            raise InputError(
                f"{sample.flow} must have a partner {image2}; add it, or take {name} away"
            )


def _numbered(path: Path) -> tuple[str, int]:
    """What the frames of a sequence have in common, and the number of this one."""
    number = re.search(r"\d+$", path.stem)
    if number is None:
        raise InputError(f"{path} must end in its number; check the folder")
    return f"{path.parent}/{path.stem[: number.start()]}", int(number.group())


def _renumbered(path: Path, number: int) -> Path:
    """The frame of another number."""
    return path.with_name(
        re.sub(r"\d+$", lambda old: f"{number:0{len(old.group())}d}", path.stem) + path.suffix
    )

"""Which frames the user gave, checked before anything is computed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from promotion._pictures import as_picture
from promotion.cli._natural import listed
from promotion.io._image import IMAGE_FORMATS
from tokenseek_common import InputError

SIDES = ("left", "right")

Step = tuple[Path, Path | None]
"""A frame, and the one that its motion leads to."""


def steps_of(pictures: Sequence[Path]) -> list[Step]:
    """The frames to look at, one by one.

    Args:
        pictures: One picture, two pictures, or a folder of frames; none is a pair that comes with
            scikit-image.

    Returns:
        For a picture itself; for two the first with the second; for a folder each frame with the
        next, and the last alone.

    Raises:
        InputError: They are something else, a picture cannot be used, or the sizes differ.
    """
    pictures = pictures or _motorcycle_files()
    for path in pictures:
        if not path.exists():
            raise InputError(f"pictures ({path}) must exist; check the path")
    if len(pictures) == 1 and pictures[0].is_dir():
        frames = frames_in(pictures[0])
        steps: list[Step] = [*pairwise(frames), (frames[-1], None)]
    elif len(pictures) in (1, 2):
        frames = list(pictures)
        steps = [(frames[0], frames[1] if len(frames) > 1 else None)]
    else:
        raise InputError(
            f"pictures ({len(pictures)} given) must be one, two, or a folder of frames; "
            "put longer sequences into a folder"
        )
    check_sizes(frames)
    return steps


def _motorcycle_files() -> list[Path]:
    spec = importlib.util.find_spec("skimage")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    files = [] if folder is None else [folder / f"motorcycle_{side}.png" for side in SIDES]
    if not files or not all(file.exists() for file in files):
        raise InputError(
            "pictures (none given) must be one, two, or a folder of frames; name them, or "
            'pip install "scikit-image" for its Motorcycle pair'
        )
    return files


def frames_in(folder: Path) -> list[Path]:
    """The frames of a folder, in the order of their names.

    Raises:
        InputError: There are fewer than two, or two whose results would have one name.
    """
    frames = listed(folder, IMAGE_FORMATS)
    if len(frames) < 2:
        raise InputError(
            f"pictures ({folder}) must hold at least two frames ({len(frames)} found); "
            f"frames end in {', '.join(sorted(IMAGE_FORMATS))}"
        )
    named: dict[str, Path] = {}
    for frame in frames:
        other = named.setdefault(frame.stem, frame)
        if other is not frame:
            raise InputError(
                f"pictures ({other} and {frame}) must differ in more than their suffix, since "
                "results are named after them; rename or move one"
            )
    return frames


def check_sizes(frames: Sequence[Path]) -> None:
    """Read all frames once, before anything is computed.

    Raises:
        InputError: One cannot be used, or is of another size than the first.
    """
    sizes = []
    for frame in frames:
        height, width = as_picture(frame, str(frame)).shape[1:]
        sizes.append(f"{width} x {height}")
        if sizes[-1] != sizes[0]:
            raise InputError(
                f"{frame} ({sizes[-1]}) must be as large as {frames[0]} ({sizes[0]}); "
                "resize one of them"
            )

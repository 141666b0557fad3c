"""Which pictures `promotion infer` was given, checked before anything is computed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from promotion.cli._frames import Frames, check_sizes, frames_of
from promotion.io._video import VIDEO_FORMATS
from tokenseek_common import InputError

SIDES = ("left", "right")


def sought(pictures: Sequence[Path]) -> Frames:
    """The frames to look at.

    Args:
        pictures: One picture, two pictures, a folder of frames, or a video; none is a pair that
            comes with scikit-image.

    Raises:
        InputError: They are something else, a picture cannot be used, or the sizes differ.
    """
    pictures = pictures or _motorcycle_files()
    for path in pictures:
        if not path.exists():
            raise InputError(f"pictures ({path}) must exist; check the path")
    first = pictures[0]
    if len(pictures) == 1 and (first.is_dir() or first.suffix.lower() in VIDEO_FORMATS):
        return frames_of(first, "pictures")
    if len(pictures) > 2:
        raise InputError(
            f"pictures ({len(pictures)} given) must be one, two, a folder of frames, or a video; "
            "put longer sequences into a folder"
        )
    check_sizes(pictures)
    return Frames(pictures, [path.stem for path in pictures], None)


def _motorcycle_files() -> list[Path]:
    spec = importlib.util.find_spec("skimage")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    files = [] if folder is None else [folder / f"motorcycle_{side}.png" for side in SIDES]
    if not files or not all(file.exists() for file in files):
        raise InputError(
            "pictures (none given) must be one, two, a folder of frames, or a video; name them, or "
            'pip install "scikit-image" for its Motorcycle pair'
        )
    return files

"""The frames of a folder, looked at one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from promotion._pictures import as_picture
from promotion.cli._infer_frames import check_sizes, frames_in
from tokenseek_common import InputError
from tokenseek_common.cli import Progress


def folder_frames(folder: Path) -> list[Path]:
    """The frames of a folder in the order of their names, all of one size.

    Raises:
        InputError: It is no folder, holds fewer than two, or one cannot be used.
    """
    if not folder.is_dir():
        raise InputError(f"frames ({folder}) must be a folder of frames; check the path")
    frames = frames_in(folder)
    check_sizes(frames)
    return frames


def shown(frames: Sequence[Path], progress: Progress) -> Iterator[Float[Tensor, "3 h w"]]:
    """Read them one by one, and tell how far that is."""
    for path in frames:
        yield as_picture(path, str(path))
        progress.advance()

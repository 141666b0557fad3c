"""The frames of a folder or a video, looked at one after the other, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float, UInt8
from torch import Tensor

from promotion._pictures import as_picture
from promotion.cli._infer_frames import check_sizes, frames_in
from promotion.io import VideoFile, VideoWriter
from promotion.io._video import VIDEO_FORMATS
from promotion.viz import save_picture
from tokenseek_common import InputError
from tokenseek_common.cli import Progress


@dataclass(frozen=True)
class Frames:
    """Frames, and what each is called.

    Args:
        pictures: Files, or a video; read anew each time that they are gone through.
        names: Of what is made of each.
        fps: Frames a second of a video; None of a folder.
    """

    pictures: Sequence[Path] | VideoFile
    names: Sequence[str]
    fps: float | None

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Float[Tensor, "3 h w"]]:
        """The frames in [0, 1], one in memory."""
        for picture in self.pictures:
            yield as_picture(picture, str(picture) if isinstance(picture, Path) else "frame")

    def shown(self, progress: Progress) -> Iterator[Float[Tensor, "3 h w"]]:
        """The same, telling how far that is."""
        for frame in self:
            yield frame
            progress.advance()


def frames_of(path: Path) -> Frames:
    """The frames of a folder, in the order of their names and of one size, or of a video.

    Raises:
        InputError: It is something else, holds fewer than two, or one cannot be used.
    """
    if path.suffix.lower() in VIDEO_FORMATS and not path.is_dir():
        video = VideoFile(path)
        count = len(video)
        if count < 2:
            raise InputError(f"frames ({path}, {count} found) must be at least two; name another")
        return Frames(video, [f"{number:06d}" for number in range(count)], video.fps)
    if not path.is_dir():
        raise InputError(
            f"frames ({path}) must be a folder of frames, or a video that ends in "
            f"{', '.join(VIDEO_FORMATS)}; check the path"
        )
    files = frames_in(path)
    check_sizes(files)
    return Frames(files, [file.stem for file in files], None)


@contextmanager
def written(
    folder: Path, video: Path, *, fps: float | None
) -> Iterator[Callable[[str, UInt8[Tensor, "3 h w"]], None]]:
    """What writes pictures, with their names, one after the other.

    Args:
        folder: Where they go as files; it is made.
        video: The video that they become instead, where there are frames a second.
        fps: Frames a second, or None.
    """
    if fps is None:
        yield lambda name, picture: save_picture(folder / f"{name}.png", picture)
    else:
        with VideoWriter(video, fps=fps) as writer:
            yield lambda _, picture: writer.add(picture)

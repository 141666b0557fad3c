"""The frames of a folder or a video, looked at one after the other, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float, UInt8
from torch import Tensor

from promotion._pictures import as_picture
from promotion.cli._natural import listed
from promotion.io import FileFormatError, VideoFile, VideoWriter
from promotion.io._image import IMAGE_FORMATS
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
        """The frames in [0, 1], one in memory.

        Raises:
            FileFormatError: A video has fewer frames than it lists.
        """
        found = 0
        pictures: Iterator[Path | Tensor] = iter(self.pictures)
        for picture, name in zip(pictures, self.names, strict=False):
            yield as_picture(picture, str(picture) if isinstance(picture, Path) else name)
            found += 1
        if isinstance(self.pictures, VideoFile) and found < len(self):
            raise FileFormatError(
                f"{self.pictures.path} must hold the {len(self)} frames that it lists ({found} "
                "found); convert it"
            )

    @property
    def images(self) -> Sequence[str]:
        """What each is called where it is told of: its path, or its number in a video."""
        if isinstance(self.pictures, VideoFile):
            return self.names
        return [str(path) for path in self.pictures]

    def shown(self, progress: Progress) -> Iterator[Float[Tensor, "3 h w"]]:
        """The same, telling how far that is."""
        for frame in self:
            yield frame
            progress.advance()


def frames_of(path: Path, given: str = "frames") -> Frames:
    """The frames of a folder, in the order of their names and of one size, or of a video.

    Args:
        path: The folder or the video.
        given: What the option is called.

    Raises:
        InputError: It is something else, holds fewer than two, or one cannot be used.
    """
    if path.suffix.lower() in VIDEO_FORMATS and not path.is_dir():
        video = VideoFile(path)
        count = len(video)
        if count < 2:
            raise InputError(f"{given} ({path}, {count} found) must be at least two; name another")
        return Frames(video, [f"{number:06d}" for number in range(count)], video.fps)
    if not path.is_dir():
        raise InputError(
            f"{given} ({path}) must be a folder of frames, or a video that ends in "
            f"{', '.join(VIDEO_FORMATS)}; check the path"
        )
    files = frames_in(path, given)
    check_sizes(files)
    return Frames(files, [file.stem for file in files], None)


def frames_in(folder: Path, given: str) -> list[Path]:
    """The frames of a folder, in the order of their names.

    Raises:
        InputError: There are fewer than two, or two whose results would have one name.
    """
    frames = listed(folder, IMAGE_FORMATS)
    if len(frames) < 2:
        raise InputError(
            f"{given} ({folder}) must hold at least two frames ({len(frames)} found); "
            f"frames end in {', '.join(sorted(IMAGE_FORMATS))}"
        )
    named: dict[str, Path] = {}
    for frame in frames:
        other = named.setdefault(frame.stem, frame)
        if other is not frame:
            raise InputError(
                f"{given} ({other} and {frame}) must differ in more than their suffix, since "
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

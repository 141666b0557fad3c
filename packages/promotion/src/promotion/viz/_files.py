"""Pictures as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from promotion.viz._pillow import to_pillow
from tokenseek_common import InputError, replacing


def save_picture(path: Path | str, picture: UInt8[Tensor, "3 h w"]) -> None:
    """Write a picture as PNG, and the folders above it where they are missing.

    Raises:
        InputError: The path does not end in .png, or cannot be written.
    """
    with _replacing(path, ".png") as part:
        to_pillow(picture).save(part, format="PNG")


def save_animation(
    path: Path | str, pictures: Sequence[UInt8[Tensor, "3 h w"]], *, fps: float
) -> None:
    """Write pictures as an animated GIF that repeats forever.

    Args:
        path: The file; folders above it that are missing are made.
        pictures: The frames, all of one size.
        fps: Frames a second, up to 50; GIF counts hundredths of a second, so 30 become 33.

    Raises:
        InputError: The path does not end in .gif, there is no frame, frames differ in size, or
            viewers cannot show so many frames a second, or the file cannot be written.
    """
    sizes = {f"{picture.shape[2]}x{picture.shape[1]}" for picture in pictures}
    if len(sizes) != 1:
        raise InputError(
            f"pictures ({', '.join(sorted(sizes)) or 'none'}) must be at least one, and all of one "
            "size; colour them by one scale, so that their legends are alike"
        )
    if not 0.01 <= fps <= 50:
        raise InputError(
            f"fps ({fps:g}) must be from 0.01 to 50, which viewers of GIF can show; "
            "leave pictures out to go faster"
        )
    first, *others = [to_pillow(picture) for picture in pictures]
    with _replacing(path, ".gif") as part:
        first.save(
            part,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=10 * round(100 / fps),
            loop=0,
        )


@contextmanager
def _replacing(path: Path | str, suffix: str) -> Iterator[Path]:
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise InputError(f"path ({path}) must end in {suffix}; rename the file")
    with replacing(path) as part:
        part.parent.mkdir(parents=True, exist_ok=True)
        yield part

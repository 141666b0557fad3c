"""How many pixels a compressed file may unfold to."""

from __future__ import annotations

from PIL import Image

from promotion.io._errors import FileFormatError


def check_pixels(name: str, *, height: int, width: int) -> None:
    """Refuse a decompression bomb: a small file that would fill the memory.

    Raises:
        FileFormatError: If there are more pixels than pillow's own limit, 89 million.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > limit:
        raise too_large(name)


def too_large(name: str) -> FileFormatError:
    """What `check_pixels` raises, for those that have found out otherwise."""
    return FileFormatError(
        f"{name} must hold at most {Image.MAX_IMAGE_PIXELS} pixels; "
        "raise PIL.Image.MAX_IMAGE_PIXELS if the file can be trusted"
    )

"""Images as tensors, by pillow."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from promotion.io._codec import by_suffix
from promotion.io._errors import FileFormatError, reason
from promotion.io._files import opened, replace_file
from promotion.io._jpeg_data import check_jpeg_data
from promotion.io._known import layout
from promotion.io._limit import check_pixels, too_large
from promotion.io._png_data import check_png_data
from tokenseek_common import InputError

_OPTIONS: dict[str, dict[str, object]] = {
    "BMP": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "PPM": {},
    "TIFF": {"compression": "tiff_deflate"},
    "WEBP": {"lossless": True},
}
WRITTEN_FORMATS = {
    ".bmp": "BMP",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
"""What is read and written, by suffix, as pillow calls it."""

IMAGE_FORMATS = WRITTEN_FORMATS | {".avif": "AVIF", ".gif": "GIF", ".pgm": "PPM"}
"""What is read."""

_EIGHT_BIT = frozenset({"1", "CMYK", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"})


def read_image(path: str | os.PathLike[str]) -> Float32[Tensor, "3 h w"]:
    """Read an image as RGB in [0, 1].

    Grey becomes RGB, and transparency is dropped. Colours of 16 bits are read as 8 bits, greys of
    16 bits whole. Of a TIFF's pages the first is taken. Pixels stay where they are stored: a
    camera's note that it was turned is left aside, or the image would no longer fit its flow.

    Args:
        path: A ``.png``, ``.jpg``, ``.ppm``, ``.pgm``, ``.webp``, ``.avif``, ``.tiff``, ``.bmp`` or
            ``.gif`` file.

    Raises:
        InputError: If the file is missing or unreadable, or its suffix unknown.
        FileFormatError: If it is none of these images, damaged or lacks pixels, an animation, a
            TIFF that holds JPEG, of which that cannot be told, or of more pixels
            than pillow's limit against decompression bombs.

    Example:
        >>> read_image("image_2/000000_10.png").shape
        torch.Size([3, 375, 1242])
    """
    path = Path(path)
    by_suffix(path, IMAGE_FORMATS)
    with opened(path) as file:
        try:
            with Image.open(file, formats=sorted(set(IMAGE_FORMATS.values()))) as image:
                check_pixels(file.name, height=image.height, width=image.width)
                _check_frames(image, file.name)
                if image.format == "PNG":
                    check_png_data(file)
                _check_parts(image, file.name)
                pixels = _rgb(image, file.name)
                if image.format in ("JPEG", "MPO"):
                    check_jpeg_data(file, pixels)
        except FileFormatError:
            raise
        except UnidentifiedImageError as error:
            known = ", ".join(sorted(set(IMAGE_FORMATS.values())))
            raise FileFormatError(f"{path} must be one of {known}; convert it") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise too_large(file.name) from error
        except Exception as error:  # pillow raises a dozen kinds for damaged bytes
            raise FileFormatError(
                f"{path} must be an undamaged image ({reason(error)}); fetch or write it again"
            ) from error
    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()  # while they are still small
    return planes.float().div_(np.iinfo(pixels.dtype).max)


def write_image(path: str | os.PathLike[str], image: Tensor) -> None:
    """Write an image, of 8 bits a channel, replacing the file as a whole.

    Args:
        path: Its suffix tells the format, as in `read_image`; all but ``.jpg`` lose nothing.
        image: `[3, h, w]`, floating in [0, 1], which is rounded to 8 bits, or uint8.

    Raises:
        InputError: If the image is of another shape or type, or not within [0, 1], if the suffix is
            unknown, or if the file cannot be written.
        FileFormatError: If the format cannot hold as many pixels.

    Example:
        >>> write_image("grey.png", torch.full((3, 48, 64), 0.5))
    """
    path = Path(path)
    kind = by_suffix(path, WRITTEN_FORMATS)
    pixels = Image.fromarray(_eight_bit(image).permute(1, 2, 0).contiguous().numpy())
    buffer = io.BytesIO()
    try:
        pixels.save(buffer, kind, **_OPTIONS[kind])
    except (OSError, ValueError) as error:
        raise FileFormatError(
            f"{path} must be of a size that {kind} can hold ({reason(error)}); write a .png instead"
        ) from error
    replace_file(path, buffer.getvalue())


def _check_frames(image: Image.Image, name: str) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in ("TIFF", "MPO"):  # whose further pages may be anything
        raise FileFormatError(
            f"{name} must be a single picture ({frames} frames found); write its frames into a "
            "folder"
        )


def _check_parts(image: Image.Image, name: str) -> None:
    """Refuse a picture of which the file holds only parts; pillow leaves the rest black."""
    if image.format == "TIFF" and image.info.get("compression") == "jpeg":
        raise FileFormatError(
            f"{name} must not be compressed as JPEG within TIFF, of which missing pixels cannot be "
            "told; convert it"
        )
    if image.format not in ("GIF", "TIFF"):
        return
    boxes = {tile.extents for tile in image.tile}  # type: ignore[attr-defined]  # of image files
    found = sum(
        (min(right, image.width) - left) * (min(lower, image.height) - upper)
        for left, upper, right, lower in boxes
    )
    if found < image.width * image.height:
        raise FileFormatError(
            f"{name} must hold all of its {image.width} x {image.height} pixels ({found} found); "
            "fetch or write it again"
        )


def _rgb(image: Image.Image, name: str) -> UInt[np.ndarray, "h w 3"]:
    if image.mode.startswith("I;16"):  # pillow would clip it
        return np.repeat(np.array(image, np.uint16)[..., None], 3, axis=-1)
    if image.mode not in _EIGHT_BIT:
        raise FileFormatError(
            f"{name} must hold 8 or 16 bits a channel (mode {image.mode} found); convert it"
        )
    image.info.pop("transparency", None)  # pillow drops it too, but may warn
    return np.array(image.convert("RGB"))


def _eight_bit(image: Tensor) -> Tensor:
    image = image.detach().cpu()
    fits = image.ndim == 3 and image.shape[0] == 3 and image.numel() > 0
    if not fits or not (image.is_floating_point() or image.dtype == torch.uint8):
        raise InputError(
            f"image ({layout(image)}) must be floating or uint8 [3, h, w]; reshape or convert it"
        )
    if image.dtype == torch.uint8:
        return image
    image = image.float()
    low, high = image.min().item(), image.max().item()
    if not (low >= 0 and high <= 1):  # false for NaN, too
        raise InputError(f"image ({low:g} to {high:g}) must lie in [0, 1]; clamp or rescale it")
    return (image * 255).round().to(torch.uint8)

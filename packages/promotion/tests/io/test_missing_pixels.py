"""A picture whose header promises more than the file holds is refused, not filled up."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from promotion.io import FileFormatError, read_image

RAISED = 64
"""Rows that the header is made to say."""


def pixels(height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def stored(kind: str, array: np.ndarray | None = None, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels() if array is None else array).convert(mode)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(**options: Any) -> bytes:
    found = bytearray(stored("JPEG", **options))
    frame = found.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    found[frame + 5 : frame + 7] = struct.pack(">H", RAISED)
    return bytes(found)


def cut_jpeg(length: int, **options: Any) -> bytes:
    return stored("JPEG", **options)[:-length] + b"\xff\xd9"


def gif() -> bytes:
    found = bytearray(stored("GIF"))
    found[8:10] = struct.pack("<H", RAISED)  # of the screen, of which the picture is a part
    return bytes(found)


def tiff(**options: Any) -> bytes:
    found = bytearray(stored("TIFF", **options))
    place = struct.unpack("<I", found[4:8])[0]
    for number in range(struct.unpack("<H", found[place : place + 2])[0]):
        entry = place + 2 + 12 * number
        if struct.unpack("<H", found[entry : entry + 2])[0] == 257:  # ImageLength
            found[entry + 8 : entry + 12] = struct.pack("<I", RAISED)
    return bytes(found)


BLOCKS = "hold 24 x {rows} pixels (blocks of them are missing); fetch or write it again"
PARTS = "hold all of its 24 x 64 pixels (384 found); fetch or write it again"


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.jpg", jpeg, BLOCKS.format(rows=64)),
        ("a.jpg", lambda: jpeg(progressive=True), BLOCKS.format(rows=64)),
        ("a.jpg", lambda: jpeg(restart_marker_rows=1), BLOCKS.format(rows=64)),
        ("a.jpg", lambda: jpeg(mode="L"), BLOCKS.format(rows=64)),
        ("a.jpg", lambda: cut_jpeg(200), BLOCKS.format(rows=16)),
        ("a.jpg", lambda: cut_jpeg(30, progressive=True, quality=95), BLOCKS.format(rows=16)),
        ("a.gif", gif, PARTS),
        ("a.tif", tiff, PARTS),
        (
            "a.tif",
            lambda: stored("TIFF", compression="jpeg"),
            "not be compressed as JPEG within TIFF, of which missing pixels cannot be told; "
            "convert it",
        ),
    ],
)
def test_what_a_file_lacks_is_not_filled_up(
    tmp_path: Path, name: str, make: Callable[[], bytes], said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(make())
    with pytest.raises(FileFormatError) as refusal:
        read_image(path)
    assert str(refusal.value) == f"{path} must {said}"


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 1, 3])
def test_whole_jpeg_files_are_read_whatever_they_show(
    tmp_path: Path, mode: str, progressive: bool, restarts: int
) -> None:
    path = tmp_path / "a.jpg"
    for height, width, subsampling in ((17, 9, 2), (16, 32, 1), (1, 1, 0), (40, 70, 2)):
        array = pixels(height, width)
        array[height // 2 :] = 128  # as libjpeg fills up
        options = {"progressive": progressive, "restart_marker_blocks": restarts}
        content = stored("JPEG", array, mode, quality=60, subsampling=subsampling, **options)
        for behind in (b"", b"more", bytes(9)):
            path.write_bytes(content + behind)
            found = (read_image(path) * 255).round().permute(1, 2, 0).numpy()
            with Image.open(io.BytesIO(content)) as image:
                assert np.array_equal(found, np.array(image.convert("RGB")))


def test_a_thumbnail_and_notes_are_passed_over(tmp_path: Path) -> None:
    """A camera's notes hold a JPEG of their own, with its own end."""
    notes = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail := stored("JPEG")[:9000])) + thumbnail
    content = stored("JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(content[:2] + notes + b"\xff\xff" + content[3:])  # and a filling byte
    assert read_image(path).shape == (3, 16, 24)

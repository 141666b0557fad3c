"""Images come in as RGB in [0, 1] whatever they are, and go out exactly, but for JPEG."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from torch import Tensor

from promotion.io import FileFormatError, read_image, write_image
from tokenseek_common import InputError

EXACT = [".bmp", ".png", ".ppm", ".tif", ".tiff", ".webp"]

images = array_shapes(min_dims=2, max_dims=2, max_side=9).flatmap(
    lambda size: arrays(np.uint8, (3, *size))
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.mark.parametrize("suffix", EXACT)
@settings(deadline=None, max_examples=40)
@given(drawn=images)
def test_any_image_comes_back(folder: Path, suffix: str, drawn: np.ndarray) -> None:
    path = folder / f"image{suffix}"
    image = torch.from_numpy(drawn)
    write_image(path, image)
    found = read_image(path)
    assert torch.equal(found, image / 255)
    assert found.is_contiguous()
    write_image(path, found)
    assert torch.equal(read_image(path), found)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_jpeg_comes_back_nearly(tmp_path: Path, suffix: str) -> None:
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")
    image = torch.stack([rows / 23, columns / 31, (rows + columns) / 54])
    write_image(tmp_path / f"image{suffix}", image)
    assert (read_image(tmp_path / f"image{suffix}") - image).abs().max() < 0.03


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_floats_round_to_the_nearest_of_256(tmp_path: Path, dtype: torch.dtype) -> None:
    image = torch.tensor([0.0, 0.4, 0.6, 1.0], dtype=dtype).expand(3, 1, 4).div(255)
    image[:, :, 3] = 1
    write_image(tmp_path / "image.png", image.requires_grad_())
    assert (
        read_image(tmp_path / "image.png")[0].tolist()
        == np.array([[0, 0, 1 / 255, 1]], np.float32).tolist()
    )


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 51, (51, 51, 51)),
        ("LA", (51, 0), (51, 51, 51)),
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 40), (10, 20, 30)),
        ("I;16", 257 * 51, (51, 51, 51)),
    ],
)
def test_every_kind_of_png_becomes_rgb(
    tmp_path: Path, mode: str, pixel: int | tuple[int, ...], expected: tuple[int, ...]
) -> None:
    Image.new(mode, (3, 2), pixel).save(tmp_path / "image.png")
    found = read_image(tmp_path / "image.png")
    assert found.shape == (3, 2, 3)
    assert found[:, 1, 2].mul(255).tolist() == pytest.approx(expected)


def test_a_palette_becomes_rgb_even_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "image.png", transparency=bytes([0, 128]))
    found = read_image(tmp_path / "image.png")
    assert found[:, 0].mT.mul(255).round().tolist() == [[10, 20, 30], [40, 50, 60]]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "image.jpg", quality=100)
    found = read_image(tmp_path / "image.jpg")[:, 4, 4]
    assert torch.allclose(found, torch.tensor([1.0, 0.0, 0.0]), atol=0.03)


def test_16_bits_of_grey_are_not_cut_to_8(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 300, 65535]], np.uint16)).save(tmp_path / "image.png")
    found = read_image(tmp_path / "image.png")
    assert torch.equal(found[0], torch.tensor([[0.0, 1.0, 300.0, 65535.0]]) / 65535)
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("maxval", "packed"),
    [
        (255, bytes([0, 51, 255, 102, 204, 153])),
        (5, bytes([0, 1, 5, 2, 4, 3])),
        (65535, struct.pack(">6H", 0, 13107, 65535, 26214, 52428, 39321)),
        (1000, struct.pack(">6H", 0, 200, 1000, 400, 800, 600)),
    ],
)
def test_ppm_of_any_maxval_is_read(tmp_path: Path, maxval: int, packed: bytes) -> None:
    path = tmp_path / "image.ppm"
    path.write_bytes(f"P6\n# a comment\n2 1\n{maxval}\n".encode() + packed)
    found = read_image(path)
    assert torch.equal(found[:, 0].mT, torch.tensor([[0, 51, 255], [102, 204, 153]]) / 255)


def test_pixels_stay_where_they_are_stored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (4, 2)).save(tmp_path / "image.jpg", exif=exif)
    assert read_image(tmp_path / "image.jpg").shape == (3, 2, 4)


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png"])
def test_an_animation_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(FileFormatError) as refusal:
        read_image(path)
    assert str(refusal.value) == (
        f"{path} must be a single picture (2 frames found); write its frames into a folder"
    )


def test_the_first_page_of_several_is_read(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "image.tif", save_all=True, append_images=pages[1:])
    assert read_image(tmp_path / "image.tif")[:, 0, 0].tolist() == [1.0, 0.0, 0.0]


def test_grey_maps_and_still_gifs_are_read(tmp_path: Path) -> None:
    for name in ("image.pgm", "image.gif"):
        Image.new("L", (3, 2), 51).save(tmp_path / name)
        torch.testing.assert_close(read_image(tmp_path / name), torch.full((3, 2, 3), 0.2))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_a_png_that_lacks_rows_is_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.png"
    Image.new(mode, (13, 16)).save(path)
    assert read_image(path).shape == (3, 16, 13)
    content = bytearray(path.read_bytes())
    content[20:24] = struct.pack(">I", 17)  # rows, one more than there are
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as refusal:
        read_image(path)
    row = 1 + {"1": 2, "L": 13, "P": 2, "RGB": 39, "RGBA": 52, "I;16": 26}[mode]
    assert str(refusal.value) == (
        f"{path} must hold 13 x 17 pixels, {17 * row} bytes of them ({16 * row} found); fetch or "
        "write it again"
    )


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (8, 8), (13, 9)])
def test_an_interlaced_png_is_read_whole(tmp_path: Path, width: int, height: int) -> None:
    """Seven passes over columns and rows, each a small picture; of a single grey here."""
    starts = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    rows = b""
    for column, row, step_x, step_y in [*starts, (0, 1, 1, 2)]:
        columns = len(range(column, width, step_x))
        rows += (b"\0" + b"\x33" * columns) * len(range(row, height, step_y)) if columns else b""

    def written(data: bytes) -> bytes:
        size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
        chunks = [(b"IHDR", size), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
            for kind, content in chunks
        )

    path = tmp_path / "image.png"
    path.write_bytes(written(rows))
    torch.testing.assert_close(read_image(path), torch.full((3, height, width), 0.2))
    path.write_bytes(written(rows[:-1]))
    with pytest.raises(FileFormatError, match="found"):
        read_image(path)


def test_what_an_image_is_counts_not_its_suffix(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), "red").save(tmp_path / "image.jpg", "PNG")
    assert read_image(tmp_path / "image.jpg")[:, 0, 0].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["TGA", "ICO"])
def test_other_kinds_of_image_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image.png"
    Image.new("RGB", (16, 16)).save(path, kind)
    with pytest.raises(FileFormatError) as refusal:
        read_image(path)
    assert str(refusal.value) == (
        f"{path} must be one of AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP; convert it"
    )


@pytest.mark.parametrize("mode", ["F", "I"])
def test_images_of_other_numbers_are_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.tif"
    Image.new(mode, (2, 2)).save(path)
    with pytest.raises(FileFormatError) as refusal:
        read_image(path)
    assert str(refusal.value) == (
        f"{path} must hold 8 or 16 bits a channel (mode {mode} found); convert it"
    )


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.ppm"
    path.write_bytes(b"P6\n2 2\n255\n" + bytes(11))
    with pytest.raises(FileFormatError) as refusal:
        read_image(path)
    assert str(refusal.value) == (
        f"{path} must be an undamaged image (image file is truncated (5 bytes not processed)); "
        "fetch or write it again"
    )


@pytest.mark.parametrize("size", ["1000000 1000000", "9500 9500", "14000 14000"])
def test_a_decompression_bomb_is_refused(tmp_path: Path, size: str) -> None:
    path = tmp_path / "image.ppm"
    path.write_bytes(f"P6\n{size}\n255\n".encode() + bytes(12))
    with pytest.raises(FileFormatError) as refusal:
        read_image(path)
    assert str(refusal.value) == (
        f"{path} must hold at most 89478485 pixels; "
        "raise PIL.Image.MAX_IMAGE_PIXELS if the file can be trusted"
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_pillow_only_warns_of_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.ppm"
    path.write_bytes(b"P6\n4 3\n255\n" + bytes(36))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 11)
    with pytest.raises(FileFormatError) as refusal:
        read_image(path)
    assert str(refusal.value) == (
        f"{path} must hold at most 11 pixels; "
        "raise PIL.Image.MAX_IMAGE_PIXELS if the file can be trusted"
    )
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(path).shape == (3, 3, 4)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.zeros(4, 5), "float32 [4, 5]"),
        (torch.zeros(1, 4, 5), "float32 [1, 4, 5]"),
        (torch.zeros(4, 5, 3), "float32 [4, 5, 3]"),
        (torch.zeros(3, 0, 5), "float32 [3, 0, 5]"),
        (torch.zeros(3, 4, 5, dtype=torch.int64), "int64 [3, 4, 5]"),
    ],
)
def test_an_image_of_another_layout_is_refused(tmp_path: Path, image: Tensor, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        write_image(tmp_path / "image.png", image)
    assert str(refusal.value) == (
        f"image ({said}) must be floating or uint8 [3, h, w]; reshape or convert it"
    )


@pytest.mark.parametrize(
    ("value", "said"), [(-0.5, "-0.5 to 0"), (255.0, "0 to 255"), (float("nan"), "nan to nan")]
)
def test_an_image_must_lie_in_0_to_1(tmp_path: Path, value: float, said: str) -> None:
    image = torch.zeros(3, 4, 5)
    image[1, 2, 3] = value
    with pytest.raises(InputError) as refusal:
        write_image(tmp_path / "image.png", image)
    assert str(refusal.value) == f"image ({said}) must lie in [0, 1]; clamp or rescale it"


def test_an_image_that_its_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.webp"
    with pytest.raises(FileFormatError) as refusal:
        write_image(path, torch.zeros(3, 1, 16384))
    assert str(refusal.value) == (
        f"{path} must be of a size that WEBP can hold (encoding error 5: Image size exceeds WebP "
        "limit of 16383 pixels); write a .png instead"
    )
    assert not path.exists()


def test_avif_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.avif"
    shown = np.linspace(0, 255, 32 * 48).reshape(32, 48).astype(np.uint8)
    Image.fromarray(shown).convert("RGB").save(path, quality=100)
    found = read_image(path)
    assert found.shape == (3, 32, 48)
    assert (found - torch.from_numpy(shown) / 255).abs().max() < 0.05

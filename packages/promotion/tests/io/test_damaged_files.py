"""Whatever bytes a file holds, it is refused in one sentence or read to something valid."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promotion.io import (
    DepthMap,
    FileFormatError,
    FlowMap,
    _png16,
    read_depth,
    read_flow,
    read_image,
    write_flow,
)
from promotion.io._errors import reason

Read = Callable[[Path], FlowMap | DepthMap | Tensor]
Edit = tuple[Literal["set", "insert", "delete", "cut"], int, int]


def read_metres(path: Path) -> DepthMap:
    return read_depth(path, scale=1000)


READERS: dict[str, Read] = {
    "flow.flo": read_flow,
    "flow.flo5": read_flow,
    "flow.npz": read_flow,
    "flow.pfm": read_flow,
    "flow.png": read_flow,
    "depth.dpt": read_metres,
    "depth.npz": read_metres,
    "depth.pfm": read_metres,
    "depth.png": read_metres,
    "image.bmp": read_image,
    "image.jpg": read_image,
    "image.png": read_image,
    "image.ppm": read_image,
    "image.tif": read_image,
    "image.webp": read_image,
}
STARTS = {
    "flow.flo": b"PIEH",
    "flow.flo5": b"\x89HDF\r\n\x1a\n",
    "flow.npz": b"PK\x03\x04",
    "flow.pfm": b"PF\n2 2\n-1.0\n",
    "flow.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\2\0\0\0\2\x10\2\0\0\0",
    "depth.dpt": b"PIEH\2\0\0\0\2\0\0\0",
    "depth.npz": b"PK\x05\x06",
    "depth.pfm": b"Pf\n",
    "depth.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\2\0\0\0\2\x10\0\0\0\0",
    "image.bmp": b"BM",
    "image.jpg": b"\xff\xd8\xff",
    "image.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "image.ppm": b"P6\n",
    "image.tif": b"II*\0\x08\0\0\0",
    "image.webp": b"RIFF\xff\0\0\0WEBPVP8",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


def edited(content: bytes, edits: list[Edit]) -> bytes:
    changed = bytearray(content)
    for kind, place, value in edits:
        position = place % (len(changed) + 1)
        if kind == "set":
            changed[position : position + 1] = bytes([value])
        elif kind == "insert":
            changed[position:position] = bytes([value]) * (1 + value % 4)
        elif kind == "delete":
            del changed[position : position + 1 + value % 4]
        else:
            del changed[position:]
    return bytes(changed)


edits = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "insert", "delete", "cut"]),
        st.integers(0, 2000) | st.integers(0, 40),  # most of a header is near the start
        st.integers(0, 255) | st.sampled_from([0, 1, 255]),
    ),
    min_size=1,
    max_size=4,
)


def check_outcome(path: Path, read: Read) -> None:
    """Read a file, and see that it is refused or valid."""
    try:
        found = read(path)
    except FileFormatError as error:
        text = str(error)
        assert text.startswith(f"{path} must ")
        assert "; " in text
        return
    if isinstance(found, Tensor):
        assert found.dtype == torch.float32
        assert found.shape[0] == 3
        assert found.numel() > 0
        assert ((found >= 0) & (found <= 1)).all()
        return
    values = found.flow if isinstance(found, FlowMap) else found.depth
    assert values.dtype == torch.float32
    assert values.shape[-2:] == found.valid.shape
    assert values.isfinite().all()
    assert not values[..., ~found.valid].any()
    if isinstance(found, DepthMap):
        assert (values[found.valid] > 0).all()


@pytest.mark.parametrize("name", READERS)
@settings(deadline=None, max_examples=60)
@given(rest=st.binary(max_size=300), fitting=st.booleans())
def test_random_bytes_are_refused_or_read_to_something_valid(
    folder: Path, name: str, rest: bytes, fitting: bool
) -> None:
    path = folder / name
    path.write_bytes(STARTS[name] + rest if fitting else rest)
    check_outcome(path, READERS[name])


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width: int, height: int, pixels: bytes, *, colour: int = 2, more: bytes = b"") -> bytes:
    size = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + more
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


@settings(deadline=None, max_examples=120)
@given(edits=edits, kind=st.sampled_from([b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"iCCP"]))
def test_damage_that_the_checksums_of_a_png_hide_is_refused_or_valid(
    folder: Path, edits: list[Edit], kind: bytes
) -> None:
    pixels = zlib.compress(bytes(range(13)) * 2)
    path = folder / "flow.png"
    path.write_bytes(png(2, 2, edited(pixels, edits)))
    check_outcome(path, read_flow)
    path.write_bytes(png(2, 2, zlib.compress(edited(bytes(26), edits))))
    check_outcome(path, read_flow)
    path.write_bytes(png(2, 2, pixels, more=chunk(kind, edited(bytes(range(20)), edits))))
    check_outcome(path, read_flow)


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def archive(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as opened:
        for name, content in members.items():
            opened.writestr(f"{name}.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize("damaged", ["flow", "valid"])
@settings(deadline=None, max_examples=120)
@given(edits=edits)
def test_damage_that_the_checksums_of_an_npz_hide_is_refused_or_valid(
    folder: Path, damaged: str, edits: list[Edit]
) -> None:
    members = {
        "flow": npy(np.ones((2, 3, 4), np.float32)),
        "valid": npy(np.ones((3, 4), np.bool_)),
    }
    members[damaged] = edited(members[damaged], edits)
    path = folder / "flow.npz"
    path.write_bytes(archive(members))
    check_outcome(path, read_flow)


def claimed_npy(shape: tuple[int, ...]) -> bytes:
    """A header that claims a shape, and next to nothing behind it."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(8)


MILLION = 10**6
LIMIT = "hold at most 89478485 pixels; raise PIL.Image.MAX_IMAGE_PIXELS if the file can be trusted"
AGAIN = "fetch or write it again"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "flow.flo",
            struct.pack("<fii", 202021.25, MILLION, MILLION) + bytes(8),
            "hold 1000000 x 1000000 pixels of 2 numbers, 8000000000000 bytes after its header "
            f"(8 found); {AGAIN}",
        ),
        (
            "depth.dpt",
            struct.pack("<fii", 202021.25, 2**31 - 1, 2**31 - 1) + bytes(8),
            "hold 2147483647 x 2147483647 pixels of 1 number, 18446744056529682436 bytes after its "
            f"header (8 found); {AGAIN}",
        ),
        (
            "flow.pfm",
            b"PF\n1000000 1000000\n-1.0\n" + bytes(8),
            "hold 1000000 x 1000000 pixels of 3 numbers, 12000000000000 bytes after its header "
            f"(8 found); {AGAIN}",
        ),
        ("flow.png", png(MILLION, MILLION, zlib.compress(bytes(8))), LIMIT),
        (
            "flow.png",
            png(9000, 9000, zlib.compress(bytes(8))),
            f"hold 9000 x 9000 pixels, more than 68 bytes can; {AGAIN}",
        ),
        (
            "depth.png",
            png(9000, 9000, zlib.compress(bytes(8)), colour=0),
            f"hold 9000 x 9000 pixels, more than 68 bytes can; {AGAIN}",
        ),
        ("flow.npz", archive({"flow": claimed_npy((2, MILLION, MILLION))}), LIMIT),
        (
            "depth.npz",
            archive({"depth": claimed_npy((9000, 9000))}),
            f"hold 324000000 bytes of depth (8 found); {AGAIN}",
        ),
        ("image.ppm", b"P6\n1000000 1000000\n255\n" + bytes(8), LIMIT),
        ("image.png", png(MILLION, MILLION, zlib.compress(bytes(8))), LIMIT),
    ],
)
def test_what_a_header_claims_is_not_allocated(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError) as refusal:
            READERS[name](path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(refusal.value) == f"{path} must {said}"
    assert peak < 2**20


def test_an_archive_that_unfolds_to_more_than_it_says_is_not_unfolded(tmp_path: Path) -> None:
    path = tmp_path / "flow.npz"
    bomb = archive({"flow": npy(np.zeros((2, 1, 2), np.float32)) + bytes(10**8)})
    real = len(npy(np.zeros((2, 1, 2), np.float32)))
    # The directory at the end then says that the member is short.
    path.write_bytes(bomb.replace(struct.pack("<I", real + 10**8), struct.pack("<I", real)))
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError) as refusal:
            read_flow(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(refusal.value) == (
        f"{path} must be an undamaged .npz file (Bad CRC-32 for file 'flow.npy'); {AGAIN}"
    )
    assert peak < 2**20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "be a PNG file; check that it is one"),
        (b"\xff\xd8\xff" + bytes(99), "be a PNG file; check that it is one"),
        (png(2, 2, b"", colour=2)[:25], "be a PNG file; check that it is one"),
        (
            png(2, 2, zlib.compress(bytes(18)), colour=0),
            "be a PNG of 16 bits, colour type 2 (16 bits, colour type 0 found); "
            "check that it is no ordinary image",
        ),
        (
            png(2, 2, zlib.compress(bytes(26)))[:-30],
            "be an undamaged PNG file (Failed to decode the png image. unexpected end of file); "
            f"{AGAIN}",
        ),
        (
            png(2, 2, zlib.compress(bytes(25))),
            "be an undamaged PNG file (Failed to decode the png image. IDAT or fDAT chunk does not "
            f"have enough data for image.); {AGAIN}",
        ),
    ],
)
def test_what_is_wrong_with_a_16_bit_png_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "flow.png"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as refusal:
        read_flow(path)
    assert str(refusal.value) == f"{path} must {said}"


FILTERED = {
    0: [[1, 2, 3, 4, 0, 1, 5, 6, 7, 8, 0, 1], [9, 9, 8, 8, 0, 1, 7, 7, 6, 6, 0, 1]],
    1: [[1, 2, 3, 4, 0, 1, 4, 4, 4, 4, 0, 0], [9, 9, 8, 8, 0, 1, 254, 254, 254, 254, 0, 0]],
    2: [[1, 2, 3, 4, 0, 1, 5, 6, 7, 8, 0, 1], [8, 7, 5, 4, 0, 0, 2, 1, 255, 254, 0, 0]],
    3: [[1, 2, 3, 4, 0, 1, 5, 5, 6, 6, 0, 1], [9, 8, 7, 6, 0, 1, 0, 0, 255, 254, 0, 0]],
    4: [[1, 2, 3, 4, 0, 1, 4, 4, 4, 4, 0, 0], [8, 7, 5, 4, 0, 0, 254, 254, 254, 254, 0, 0]],
}
"""Two rows of two pixels by filter: each byte less its left, upper, mean or Paeth neighbour."""


@pytest.mark.parametrize("name", FILTERED)
def test_every_filter_of_a_png_is_undone(tmp_path: Path, name: int) -> None:
    path = tmp_path / "flow.png"
    rows = b"".join(bytes([name, *row]) for row in FILTERED[name])
    path.write_bytes(png(2, 2, zlib.compress(rows)))
    stored = [[[0x102, 0x506], [0x909, 0x707]], [[0x304, 0x708], [0x808, 0x606]]]
    assert torch.equal(read_flow(path).flow, (torch.tensor(stored) - 2**15) / 64)


class PanicException(BaseException):
    """What pyo3 raises when the code in Rust panics."""


@pytest.mark.parametrize(
    ("raised", "seen", "said"),
    [
        (PanicException("index out of bounds"), FileFormatError, "(index out of bounds); "),
        (PanicException(), FileFormatError, "(PanicException); "),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
    ],
)
def test_a_panic_of_the_png_decoder_is_a_damaged_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    seen: type[BaseException],
    said: str,
) -> None:
    write_flow(tmp_path / "flow.png", torch.zeros(2, 3, 4))

    def panic(content: bytes, size: tuple[int, int], mode: str) -> None:
        raise raised

    monkeypatch.setattr(_png16, "decode_image_png_u16", panic)
    with pytest.raises(seen) as caught:
        read_flow(tmp_path / "flow.png")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            archive({"flow": b"\x93NUMPY\2\0" + bytes(99)}),
            "hold flow in npy format 1.0; write it with numpy.savez",
        ),
        (
            archive({"flow": npy(np.zeros((2, 1, 1), np.float32))}, zipfile.ZIP_LZMA),
            "be stored or deflated; write it with numpy.savez or savez_compressed",
        ),
        (
            archive({"flow": npy(np.zeros((2, 1, 1), np.float32)) + b"more"}),
            f"hold 8 bytes of flow (12 found); {AGAIN}",
        ),
        (
            archive({"flow": npy(np.zeros((2, 1, 1), np.float32))[:-1]}),
            f"hold 8 bytes of flow (7 found); {AGAIN}",
        ),
        (
            archive({"flow": b"nonsense"}),
            "be an undamaged .npz file (the magic string is not correct; expected b'\\x93NUMPY', "
            f"got b'nonsen'); {AGAIN}",
        ),
    ],
)
def test_what_is_wrong_with_an_archive_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "flow.npz"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as refusal:
        read_flow(path)
    assert str(refusal.value) == f"{path} must {said}"


def test_what_a_library_says_is_told_in_one_line_of_bearable_length() -> None:
    assert reason(ValueError("two\n  lines")) == "two lines"
    assert reason(ValueError("x" * 2900)) == "x" * 200 + "..."
    assert reason(KeyError()) == "KeyError"

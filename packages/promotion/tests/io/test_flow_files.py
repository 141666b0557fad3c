"""Flow goes into each format and comes back; what a format cannot hold is refused."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from torch import Tensor

from promotion.io import FileFormatError, read_flow, write_flow
from promotion.io._png16 import encode_png16
from tokenseek_common import InputError

SUFFIXES = [".flo", ".flo5", ".npz", ".pfm", ".png"]
EXACT = [".flo", ".flo5", ".npz", ".pfm"]
NAN, INF = float("nan"), float("inf")

sizes = array_shapes(min_dims=2, max_dims=2, max_side=9)


@st.composite
def flows(draw: st.DrawFn, values: st.SearchStrategy[float]) -> tuple[Tensor, Tensor]:
    """Flow of any size, and where it is known."""
    size = draw(sizes)
    flow = draw(arrays(np.float32, (2, *size), elements=values))
    return torch.from_numpy(flow), torch.from_numpy(draw(arrays(np.bool_, size)))


anything = st.floats(-1e9, 1e9, width=32)
steps = st.integers(-(2**15), 2**15 - 1).map(lambda step: step / 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flow")


def check_it_comes_back(path: Path, flow: Tensor, valid: Tensor) -> None:
    write_flow(path, flow, valid)
    found = read_flow(path)
    assert torch.equal(found.valid, valid)
    assert torch.equal(found.flow, flow.where(valid, 0))
    assert found.flow.is_contiguous()
    assert found.flow.dtype == torch.float32


@pytest.mark.parametrize("suffix", EXACT)
@settings(deadline=None)
@given(drawn=flows(anything))
def test_any_flow_comes_back_bit_by_bit(
    folder: Path, suffix: str, drawn: tuple[Tensor, Tensor]
) -> None:
    check_it_comes_back(folder / f"flow{suffix}", *drawn)


@settings(deadline=None)
@given(drawn=flows(steps))
def test_flow_in_64ths_of_a_pixel_comes_back_from_a_png(
    folder: Path, drawn: tuple[Tensor, Tensor]
) -> None:
    check_it_comes_back(folder / "flow.png", *drawn)


@settings(deadline=None)
@given(drawn=flows(st.floats(-512, 511.984375, width=32)))
def test_a_png_rounds_flow_to_the_nearest_64th(folder: Path, drawn: tuple[Tensor, Tensor]) -> None:
    flow, valid = drawn
    write_flow(folder / "flow.png", flow, valid)
    found = read_flow(folder / "flow.png")
    assert torch.equal(found.valid, valid)
    assert (found.flow.double() - flow.double())[:, valid].abs().le(1 / 128).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_a_mask_every_pixel_is_known(tmp_path: Path, suffix: str) -> None:
    write_flow(tmp_path / f"flow{suffix}", torch.ones(2, 2, 3))
    assert read_flow(tmp_path / f"flow{suffix}").valid.all()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("nonsense", [NAN, INF, 1e30])
def test_what_the_flow_is_where_it_is_unknown_does_not_matter(
    tmp_path: Path, suffix: str, nonsense: float
) -> None:
    flow, valid = torch.ones(2, 2, 3), torch.ones(2, 3, dtype=torch.bool)
    flow[:, 1, 2], valid[1, 2] = nonsense, False
    check_it_comes_back(tmp_path / f"flow{suffix}", flow, valid)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "change",
    [
        lambda flow: flow.requires_grad_(),
        lambda flow: flow.double(),
        lambda flow: flow.half(),
        lambda flow: flow.mT.contiguous().mT,
    ],
    ids=["in a graph", "double", "half", "transposed in memory"],
)
def test_tensors_of_any_kind_are_written(
    tmp_path: Path, suffix: str, change: Callable[[Tensor], Tensor]
) -> None:
    flow = torch.arange(12.0).reshape(2, 2, 3)
    write_flow(tmp_path / f"flow{suffix}", change(flow.clone()))
    assert torch.equal(read_flow(tmp_path / f"flow{suffix}").flow, flow)


def test_suffixes_may_be_capitals_and_paths_text(tmp_path: Path) -> None:
    write_flow(f"{tmp_path}/flow.FLO", torch.ones(2, 1, 1))
    assert read_flow(f"{tmp_path}/flow.FLO").flow.tolist() == [[[1.0]], [[1.0]]]


def test_flo_is_what_middlebury_says(tmp_path: Path) -> None:
    path = tmp_path / "flow.flo"
    header = struct.pack("<fii", 202021.25, 2, 1)
    path.write_bytes(header + struct.pack("<4f", 1.5, -2.0, 1e10, 3.0))
    found = read_flow(path)
    assert found.flow.tolist() == [[[1.5, 0.0]], [[-2.0, 0.0]]]
    assert found.valid.tolist() == [[True, False]]
    write_flow(path, found.flow, found.valid)
    assert path.read_bytes() == header + struct.pack("<4f", 1.5, -2.0, 1e10, 1e10)


@pytest.mark.parametrize("unknown", [NAN, INF, -INF, 1.1e9, -1.1e9])
@pytest.mark.parametrize("channel", [0, 1])
def test_flow_is_unknown_beyond_1e9_in_either_direction(
    tmp_path: Path, unknown: float, channel: int
) -> None:
    values = [1e9, -1e9, 3.0, 4.0]
    values[2 + channel] = unknown
    path = tmp_path / "flow.flo"
    path.write_bytes(struct.pack("<fii4f", 202021.25, 2, 1, *values))
    found = read_flow(path)
    assert found.valid.tolist() == [[True, False]]
    assert found.flow.tolist() == [[[1e9, 0.0]], [[-1e9, 0.0]]]


@pytest.mark.parametrize(
    ("header", "order"),
    [
        (b"PF\n2 2\n-1.0\n", "<"),
        (b"PF\n2 2\n1\n", ">"),
        (b"PF\n2 2\n+1.000000e+00\n", ">"),
        (b"PF\r\n2 2\r\n-0.003922\r\n", "<"),
        (b"PF 2 2 -.5 \n", "<"),
    ],
)
def test_pfm_rows_go_upwards_in_either_byte_order(
    tmp_path: Path, header: bytes, order: str
) -> None:
    path = tmp_path / "flow.pfm"
    pixels = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0, 5.0, 6.0, INF, INF, 8.0, 0.0]
    path.write_bytes(header + struct.pack(f"{order}12f", *pixels))
    found = read_flow(path)
    assert found.flow.tolist() == [[[5.0, 0.0], [1.0, 3.0]], [[6.0, 0.0], [2.0, 4.0]]]
    assert found.valid.tolist() == [[True, False], [True, True]]


def test_comments_in_the_header_of_a_pfm_file_are_passed_over(tmp_path: Path) -> None:
    values = struct.pack("<6f", 1, 2, 0, 3, 4, 0)
    plain, commented = tmp_path / "plain.pfm", tmp_path / "commented.pfm"
    plain.write_bytes(b"PF\n2 1\n-1.0\n" + values)
    commented.write_bytes(b"PF\n# of a camera\n#\n2 1\n# scale 1\n-1.0\n" + values)
    assert torch.equal(read_flow(commented).flow, read_flow(plain).flow)


def test_pfm_is_written_upwards_in_little_endian(tmp_path: Path) -> None:
    flow = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    write_flow(tmp_path / "flow.pfm", flow, torch.tensor([[True], [False]]))
    assert (tmp_path / "flow.pfm").read_bytes() == b"PF\n1 2\n-1.0\n" + struct.pack(
        "<6f", INF, INF, 0.0, 1.0, 3.0, 0.0
    )


def test_png_is_what_kitti_says(tmp_path: Path) -> None:
    flow = torch.tensor([[[1.5, -512.0, 7.0]], [[-0.25, 511.984375, 7.0]]])
    write_flow(tmp_path / "flow.png", flow, torch.tensor([[True, True, False]]))
    stored = [[32768 + 96, 32768 - 16, 1], [0, 65535, 1], [0, 0, 0]]
    with Image.open(tmp_path / "flow.png") as image:  # pillow keeps the upper byte
        assert np.array(image).tolist() == [[[value >> 8 for value in pixel] for pixel in stored]]


def test_npz_is_what_numpy_reads_and_writes(tmp_path: Path) -> None:
    flow, valid = torch.arange(12.0).reshape(2, 2, 3), torch.tensor([[True, False, True]] * 2)
    write_flow(tmp_path / "flow.npz", flow, valid)
    with np.load(tmp_path / "flow.npz", allow_pickle=False) as archive:
        assert archive["flow"].tolist() == flow.where(valid, 0).tolist()
        assert archive["valid"].tolist() == valid.tolist()
        members = {"flow": np.asfortranarray(archive["flow"]), "valid": archive["valid"]}
    np.savez_compressed(tmp_path / "flow.npz", **members)
    found = read_flow(tmp_path / "flow.npz")
    assert torch.equal(found.flow, flow.where(valid, 0))
    assert torch.equal(found.valid, valid)


def test_npz_without_a_mask_knows_what_is_finite(tmp_path: Path) -> None:
    np.savez(tmp_path / "flow.npz", flow=np.array([[[1, NAN, 3]], [[4, 5, 2e9]]], np.float32))
    found = read_flow(tmp_path / "flow.npz")
    assert found.valid.tolist() == [[True, False, False]]
    assert found.flow.tolist() == [[[1.0, 0.0, 0.0]], [[4.0, 0.0, 0.0]]]


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        (torch.zeros(3, 4, 5), "float32 [3, 4, 5]"),
        (torch.zeros(4, 5), "float32 [4, 5]"),
        (torch.zeros(1, 2, 4, 5), "float32 [1, 2, 4, 5]"),
        (torch.zeros(2, 0, 5), "float32 [2, 0, 5]"),
        (torch.zeros(2, 4, 5, dtype=torch.int64), "int64 [2, 4, 5]"),
    ],
)
def test_flow_of_another_layout_is_refused(tmp_path: Path, flow: Tensor, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        write_flow(tmp_path / "flow.flo", flow)
    assert str(refusal.value) == f"flow ({said}) must be floating [2, h, w]; reshape or convert it"


@pytest.mark.parametrize(
    ("valid", "said"),
    [
        (torch.ones(5, 4, dtype=torch.bool), "bool [5, 4]"),
        (torch.ones(1, 4, 5, dtype=torch.bool), "bool [1, 4, 5]"),
        (torch.ones(4, 5), "float32 [4, 5]"),
    ],
)
def test_a_mask_of_another_layout_is_refused(tmp_path: Path, valid: Tensor, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        write_flow(tmp_path / "flow.flo", torch.zeros(2, 4, 5), valid)
    assert str(refusal.value) == (
        f"valid ({said}) must be bool [4, 5], as flow is; leave it out if every pixel is known"
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("value", "said"), [(NAN, "nan"), (-INF, "-inf"), (1.5e9, "1.5e+09"), (1e300, "inf")]
)
def test_flow_that_is_known_must_be_a_number(
    tmp_path: Path, suffix: str, value: float, said: str
) -> None:
    flow = torch.zeros(2, 4, 5, dtype=torch.float64)
    flow[1, 2, 3] = value
    with pytest.raises(InputError) as refusal:
        write_flow(tmp_path / f"flow{suffix}", flow)
    assert str(refusal.value) == (
        f"flow ({said} at row 2, column 3) must be finite and at most 1e9 pixels where it is "
        "valid; mark it invalid there"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [600.0, -512.0 - 1 / 64, 511.993])
def test_a_png_does_not_clip(tmp_path: Path, value: float) -> None:
    path = tmp_path / "flow.png"
    flow = torch.zeros(2, 4, 5)
    flow[0, 1, 4] = value
    with pytest.raises(FileFormatError) as refusal:
        write_flow(path, flow)
    assert str(refusal.value) == (
        f"{path} must hold flow between -512 and 511.984 pixels ({value:g} at row 1, column 4); "
        "write .flo, .npz or .pfm instead"
    )
    assert not path.exists()


def test_what_is_wrong_with_a_flo_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "flow.flo"
    tag = struct.pack("<f", 202021.25)
    for content in (b"", tag, b"HEIP" + bytes(16), tag[::-1] + bytes(16)):
        path.write_bytes(content)
        with pytest.raises(FileFormatError) as refusal:
            read_flow(path)
        assert str(refusal.value) == (
            f"{path} must begin with the tag PIEH and its size; "
            "check that it is what its suffix says"
        )


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (-2, -2)])
def test_a_flo_file_has_at_least_one_pixel(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "flow.flo"
    path.write_bytes(struct.pack("<fii", 202021.25, *size) + bytes(32))
    with pytest.raises(FileFormatError) as refusal:
        read_flow(path)
    assert str(refusal.value) == (
        f"{path} must be at least 1 x 1 pixels ({size[0]} x {size[1]} found); "
        "fetch or write it again"
    )


@pytest.mark.parametrize("length", [0, 255, 257])
def test_a_flo_file_is_as_long_as_it_says(tmp_path: Path, length: int) -> None:
    path = tmp_path / "flow.flo"
    path.write_bytes(struct.pack("<fii", 202021.25, 8, 4) + bytes(length))
    with pytest.raises(FileFormatError) as refusal:
        read_flow(path)
    assert str(refusal.value) == (
        f"{path} must hold 8 x 4 pixels of 2 numbers, 256 bytes after its header "
        f"({length} found); fetch or write it again"
    )


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Pf\n1 1\n-1.0\n",
        b"pf\n1 1\n-1.0\n",
        b"P6\n1 1\n255\n",
        b"PF\n1\n-1.0\n",
        b"PF\n-1 -1\n-1.0\n",
        b"PF\n1 1\n-0.0\n",
        b"PF\n1 1\nnan\n",
        b"PF\n1 1\n-1.0",
        b"PF\n1 1\n" + b"9" * 200 + b"\n",
        b"PF\n9999999999 1\n-1.0\n",
    ],
)
def test_what_is_wrong_with_the_header_of_a_pfm_file_is_said(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "flow.pfm"
    path.write_bytes(header + bytes(12))
    with pytest.raises(FileFormatError) as refusal:
        read_flow(path)
    assert str(refusal.value) == (
        f"{path} must begin with PF, its size and a scale that is not 0, a line each; "
        "check that it is a PFM file of 3 channels"
    )


def test_a_pfm_file_is_as_long_as_it_says(tmp_path: Path) -> None:
    path = tmp_path / "flow.pfm"
    path.write_bytes(b"PF\n2 1\n-1.0\n" + bytes(25))
    with pytest.raises(FileFormatError) as refusal:
        read_flow(path)
    assert str(refusal.value) == (
        f"{path} must hold 2 x 1 pixels of 3 numbers, 24 bytes after its header (25 found); "
        "fetch or write it again"
    )


def saved(**members: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **members)  # type: ignore[arg-type]
    return buffer.getvalue()


FLOW = np.zeros((2, 3, 4), np.float32)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (saved(depth=FLOW), "must hold flow; write it with numpy.savez(flow=...)"),
        (
            saved(flow=FLOW.astype(np.float64)),
            "must hold flow as float32 [2, any, any] (<f8 [2, 3, 4] found); convert it",
        ),
        (
            saved(flow=FLOW.astype(">f4")),
            "must hold flow as float32 [2, any, any] (>f4 [2, 3, 4] found); convert it",
        ),
        (
            saved(flow=np.array([[print]])),
            "must hold flow as float32 [2, any, any] (|O [1, 1] found); convert it",
        ),
        (
            saved(flow=np.moveaxis(FLOW, 0, -1)),
            "must hold flow as float32 [2, any, any] (<f4 [3, 4, 2] found); convert it",
        ),
        (
            saved(flow=FLOW[:, :0]),
            "must hold flow as float32 [2, any, any] (<f4 [2, 0, 4] found); convert it",
        ),
        (
            saved(flow=FLOW, valid=np.ones((4, 3), np.bool_)),
            "must hold valid as bool [3, 4] (|b1 [4, 3] found); convert it",
        ),
        (
            saved(flow=FLOW, valid=FLOW[0]),
            "must hold valid as bool [3, 4] (<f4 [3, 4] found); convert it",
        ),
        (b"", "must be an undamaged .npz file (File is not a zip file); fetch or write it again"),
    ],
)
def test_what_is_wrong_with_an_npz_file_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "flow.npz"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as refusal:
        read_flow(path)
    assert str(refusal.value) == f"{path} {said}"


def test_an_ordinary_png_is_no_flow(tmp_path: Path) -> None:
    path = tmp_path / "flow.png"
    Image.new("RGB", (4, 3)).save(path)
    with pytest.raises(FileFormatError) as refusal:
        read_flow(path)
    assert str(refusal.value) == (
        f"{path} must be a PNG of 16 bits, colour type 2 (8 bits, colour type 2 found); "
        "check that it is no ordinary image"
    )


def test_virtual_kitti_counts_in_widths_and_heights(tmp_path: Path) -> None:
    stored = np.zeros((3, 5, 3), np.uint16)
    stored[1, 2] = (65535, 0, 1)
    path = tmp_path / "flow_00000.png"
    path.write_bytes(encode_png16(stored))
    flow = read_flow(path, normalized=True)
    assert flow.valid.nonzero().tolist() == [[1, 2]]
    assert flow.flow[:, 1, 2].tolist() == [4, -2]
    with pytest.raises(InputError) as caught:
        read_flow(tmp_path / "a.flo", normalized=True)
    assert str(caught.value) == (
        f"normalized (True) must go with a .png ({tmp_path}/a.flo); leave it out"
    )


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("motion", np.zeros((2, 3, 2), np.float32), "must hold an array flow; check that it is"),
        ("flow/0", np.zeros((2, 3, 2), np.float32), "must hold an array flow; check that it is"),
        (
            "flow",
            np.zeros((2, 3), np.float32),
            "must hold floating flow of [h, w, 2] (float32 [2, 3",
        ),
        (
            "flow",
            np.zeros((2, 3, 2), np.int16),
            "must hold floating flow of [h, w, 2] (int16 [2, 3,",
        ),
        (
            "flow",
            np.zeros((0, 3, 2), np.float32),
            "must hold floating flow of [h, w, 2] (float32",
        ),
    ],
)
def test_hdf5_of_something_else_is_refused(
    tmp_path: Path, name: str, values: np.ndarray, said: str
) -> None:
    h5py: Any = pytest.importorskip("h5py")
    path = tmp_path / "a.flo5"
    with h5py.File(path, "w") as file:
        file[name] = values
    with pytest.raises(FileFormatError) as caught:
        read_flow(path)
    assert str(caught.value).startswith(f"{path} {said}")


def test_hdf5_without_its_reader_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.flo5").touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError) as caught:
        read_flow(tmp_path / "a.flo5")
    assert str(caught.value) == (
        f"{tmp_path}/a.flo5 must be opened with h5py, which is absent; "
        'pip install "promotion-flow[spring]"'
    )

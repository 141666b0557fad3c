"""Depth goes into each format and comes back, in metres whatever the unit of the file."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from torch import Tensor

from promotion.io import FileFormatError, read_depth, write_depth
from tokenseek_common import InputError

EXACT = [".dpt", ".npz", ".pfm"]
NAN, INF = float("nan"), float("inf")

sizes = array_shapes(min_dims=2, max_dims=2, max_side=9)


@st.composite
def depths(draw: st.DrawFn, values: st.SearchStrategy[float]) -> tuple[Tensor, Tensor]:
    """Depth of any size, and where it is known."""
    size = draw(sizes)
    depth = draw(arrays(np.float32, size, elements=values))
    return torch.from_numpy(depth), torch.from_numpy(draw(arrays(np.bool_, size)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("depth")


@pytest.mark.parametrize("suffix", EXACT)
@settings(deadline=None)
@given(drawn=depths(st.floats(0, exclude_min=True, allow_infinity=False, width=32)))
def test_any_depth_comes_back_bit_by_bit(
    folder: Path, suffix: str, drawn: tuple[Tensor, Tensor]
) -> None:
    depth, valid = drawn
    path = folder / f"depth{suffix}"
    write_depth(path, depth, valid)
    found = read_depth(path)
    assert torch.equal(found.valid, valid)
    assert torch.equal(found.depth, depth.where(valid, 0))
    assert found.depth.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("scale", [100, 256, 1000.0, 5000, 777.7])
@settings(deadline=None)
@given(drawn=depths(st.integers(1, 65534).map(float)))
def test_every_unit_of_a_png_comes_back(
    folder: Path, scale: float, drawn: tuple[Tensor, Tensor]
) -> None:
    units, valid = drawn
    depth = (units.double() / scale).float()
    write_depth(folder / "depth.png", depth, valid, scale=scale)
    found = read_depth(folder / "depth.png", scale=scale)
    assert torch.equal(found.valid, valid)
    assert torch.equal(found.depth, depth.where(valid, 0))


@settings(deadline=None)
@given(drawn=depths(st.floats(1 / 256, 255.75, width=32)))
def test_a_png_rounds_depth_to_the_nearest_unit(folder: Path, drawn: tuple[Tensor, Tensor]) -> None:
    depth, valid = drawn
    write_depth(folder / "depth.png", depth, valid, scale=256)
    found = read_depth(folder / "depth.png", scale=256)
    assert torch.equal(found.valid, valid)
    assert (found.depth.double() - depth.double())[valid].abs().le(1 / 512).all()


def test_a_png_holds_whole_units_as_pillow_reads_them(tmp_path: Path) -> None:
    depth = torch.tensor([[1.5, 0.0], [65.534, 0.001]])
    write_depth(tmp_path / "depth.png", depth, scale=1000)
    with Image.open(tmp_path / "depth.png") as image:
        assert np.array(image).tolist() == [[1500, 0], [65534, 1]]


@pytest.mark.parametrize("scale", [256, 1000, 5000])
def test_in_a_png_neither_0_nor_65535_is_a_depth(tmp_path: Path, scale: int) -> None:
    Image.fromarray(np.array([[0, 1, 65534, 65535]], np.uint16)).save(tmp_path / "depth.png")
    found = read_depth(tmp_path / "depth.png", scale=scale)
    assert found.valid.tolist() == [[False, True, True, False]]
    assert found.depth.tolist() == np.array([[0, 1 / scale, 65534 / scale, 0]], np.float32).tolist()


def test_dpt_is_what_sintel_says(tmp_path: Path) -> None:
    path = tmp_path / "depth.dpt"
    content = struct.pack("<fii", 202021.25, 3, 2) + struct.pack("<6f", 1, 2, 3, 4, 0, 6)
    path.write_bytes(content)
    found = read_depth(path)
    assert found.depth.tolist() == [[1.0, 2.0, 3.0], [4.0, 0.0, 6.0]]
    assert found.valid.tolist() == [[True, True, True], [True, False, True]]
    write_depth(path, found.depth, found.valid)
    assert path.read_bytes() == content


@pytest.mark.parametrize(("sign", "order"), [("-", "<"), ("", ">")])
def test_pfm_rows_of_depth_go_upwards(tmp_path: Path, sign: str, order: str) -> None:
    path = tmp_path / "depth.pfm"
    path.write_bytes(f"Pf\n2 2\n{sign}1.0\n".encode() + struct.pack(f"{order}4f", 1, INF, 3, 4))
    found = read_depth(path)
    assert found.depth.tolist() == [[3.0, 4.0], [1.0, 0.0]]
    assert found.valid.tolist() == [[True, True], [True, False]]


def test_pfm_has_infinity_where_depth_is_unknown(tmp_path: Path) -> None:
    write_depth(tmp_path / "depth.pfm", torch.tensor([[1.0], [0.0]]))
    expected = b"Pf\n1 2\n-1.0\n" + struct.pack("<2f", INF, 1)
    assert (tmp_path / "depth.pfm").read_bytes() == expected


@pytest.mark.parametrize("unknown", [0.0, -1.0, NAN, INF, -INF])
@pytest.mark.parametrize("suffix", EXACT)
def test_what_cannot_be_a_depth_is_unknown(tmp_path: Path, suffix: str, unknown: float) -> None:
    path = tmp_path / f"depth{suffix}"
    values = struct.pack("<2f", unknown, 2.0)
    if suffix == ".dpt":
        path.write_bytes(struct.pack("<fii", 202021.25, 2, 1) + values)
    elif suffix == ".pfm":
        path.write_bytes(b"Pf\n2 1\n-1\n" + values)
    else:
        np.savez(path, depth=np.array([[unknown, 2.0]], np.float32))
    found = read_depth(path)
    assert found.valid.tolist() == [[False, True]]
    assert found.depth.tolist() == [[0.0, 2.0]]


def test_npz_is_what_numpy_reads_and_writes(tmp_path: Path) -> None:
    write_depth(tmp_path / "depth.npz", torch.tensor([[1.0, 2.0, 0.0]]))
    with np.load(tmp_path / "depth.npz", allow_pickle=False) as archive:
        assert archive["depth"].tolist() == [[1.0, 2.0, 0.0]]
        assert archive["valid"].tolist() == [[True, True, False]]
    np.savez(
        tmp_path / "depth.npz",
        depth=np.array([[1, 2, 3]], np.float32),
        valid=np.array([[True, False, True]]),
    )
    found = read_depth(tmp_path / "depth.npz")
    assert found.depth.tolist() == [[1.0, 0.0, 3.0]]
    assert found.valid.tolist() == [[True, False, True]]


@pytest.mark.parametrize("suffix", EXACT)
def test_other_formats_take_a_scale_too(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"depth{suffix}"
    write_depth(path, torch.tensor([[1.5, 0.0]]), scale=1000)
    assert read_depth(path).depth.tolist() == [[1500.0, 0.0]]
    assert read_depth(path, scale=1000).depth.tolist() == [[1.5, 0.0]]


def test_depth_that_overflows_its_unit_is_unknown(tmp_path: Path) -> None:
    write_depth(tmp_path / "depth.pfm", torch.tensor([[1.5, 1e30]]))
    found = read_depth(tmp_path / "depth.pfm", scale=1e-20)
    assert found.valid.tolist() == [[True, False]]


def test_a_mask_hides_what_is_no_number(tmp_path: Path) -> None:
    depth = torch.tensor([[1.0, NAN, -1.0, INF]], requires_grad=True)
    write_depth(tmp_path / "depth.pfm", depth, torch.tensor([[True, False, False, False]]))
    assert read_depth(tmp_path / "depth.pfm").depth.tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_a_png_needs_a_scale(tmp_path: Path) -> None:
    path = tmp_path / "depth.PNG"
    expected = (
        f"scale (None) must be given for {path}, since a PNG does not say its unit; "
        "take 256 for KITTI, 1000 for NYU and 7-Scenes, 5000 for TUM"
    )
    with pytest.raises(InputError) as refusal:
        write_depth(path, torch.ones(2, 3))
    assert str(refusal.value) == expected
    write_depth(path, torch.ones(2, 3), scale=1000)
    with pytest.raises(InputError) as refusal:
        read_depth(path)
    assert str(refusal.value) == expected


@pytest.mark.parametrize("scale", [0, -1000, INF, NAN])
def test_a_scale_is_a_positive_number(tmp_path: Path, scale: float) -> None:
    with pytest.raises(InputError) as refusal:
        write_depth(tmp_path / "depth.pfm", torch.ones(2, 3), scale=scale)
    assert str(refusal.value) == (
        f"scale ({scale}) must be a positive number; give stored units to the metre"
    )


@pytest.mark.parametrize(
    ("depth", "said"),
    [
        (torch.ones(1, 4, 5), "float32 [1, 4, 5]"),
        (torch.ones(5), "float32 [5]"),
        (torch.ones(()), "float32 []"),
        (torch.ones(4, 0), "float32 [4, 0]"),
        (torch.ones(4, 5, dtype=torch.int32), "int32 [4, 5]"),
    ],
)
def test_depth_of_another_layout_is_refused(tmp_path: Path, depth: Tensor, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        write_depth(tmp_path / "depth.pfm", depth)
    assert str(refusal.value) == f"depth ({said}) must be floating [h, w]; reshape or convert it"


def test_a_mask_of_depth_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        write_depth(tmp_path / "depth.pfm", torch.ones(4, 5), torch.ones(4, 4).bool())
    assert str(refusal.value) == (
        "valid (bool [4, 4]) must be bool [4, 5], as depth is; leave it out if every pixel is known"
    )


@pytest.mark.parametrize("suffix", [*EXACT, ".png"])
@pytest.mark.parametrize(
    ("value", "mask", "said"),
    [(NAN, False, "nan"), (-2.0, False, "-2"), (INF, True, "inf"), (0.0, True, "0")],
)
def test_depth_that_is_known_must_be_above_0(
    tmp_path: Path, suffix: str, value: float, mask: bool, said: str
) -> None:
    depth = torch.ones(4, 5)
    depth[2, 3] = value
    valid = torch.ones(4, 5, dtype=torch.bool) if mask else None
    with pytest.raises(InputError) as refusal:
        write_depth(tmp_path / f"depth{suffix}", depth, valid, scale=1000)
    assert str(refusal.value) == (
        f"depth ({said} at row 2, column 3) must be finite and above 0 where it is valid; "
        "mark it invalid there"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("value", "units"), [(65.535, 65535.0), (100.0, 100000.0), (4e-4, 0.4)])
def test_a_png_does_not_clip_depth(tmp_path: Path, value: float, units: float) -> None:
    path = tmp_path / "depth.png"
    depth = torch.ones(4, 5)
    depth[2, 3] = value
    with pytest.raises(FileFormatError) as refusal:
        write_depth(path, depth, scale=1000)
    assert str(refusal.value) == (
        f"{path} must hold depth between 1 and 65534 units of the scale "
        f"({units:g} at row 2, column 3); choose another scale, or write .dpt, .npz or .pfm instead"
    )
    assert not path.exists()


def test_flow_is_no_depth(tmp_path: Path) -> None:
    (tmp_path / "depth.dpt").write_bytes(struct.pack("<fii", 202021.25, 2, 1) + bytes(16))
    with pytest.raises(FileFormatError) as refusal:
        read_depth(tmp_path / "depth.dpt")
    assert str(refusal.value) == (
        f"{tmp_path}/depth.dpt must hold 2 x 1 pixels of 1 number, 8 bytes after its header "
        "(16 found); fetch or write it again"
    )
    (tmp_path / "depth.pfm").write_bytes(b"PF\n1 1\n-1\n" + bytes(12))
    with pytest.raises(FileFormatError) as refusal:
        read_depth(tmp_path / "depth.pfm")
    assert str(refusal.value) == (
        f"{tmp_path}/depth.pfm must begin with Pf, its size and a scale that is not 0, a line "
        "each; check that it is a PFM file of 1 channel"
    )

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from promotion.cli import main
from promotion.io import read_image, write_depth, write_flow, write_image
from promotion.metrics import endpoint_error
from promotion.viz import depth_picture, error_picture, flow_picture


def flow_of(seed: int, *, height: int = 24, width: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (8 * torch.randn(2, height, width, generator=generator) * 64).round() / 64


def depth_of(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (1 + 9 * torch.rand(24, 40, generator=generator) * 256).round() / 256


def mask() -> Tensor:
    valid = torch.ones(24, 40, dtype=torch.bool)
    valid[:5] = False
    return valid


def drawn(path: Path) -> Tensor:
    return (read_image(path) * 255).round().to(torch.uint8)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", [".flo", ".npz", ".pfm", ".png"])
def test_flow_is_drawn_beside_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    write_flow(tmp_path / f"a{suffix}", flow_of(1), mask())
    assert main(["viz", str(tmp_path / f"a{suffix}")]) == 0
    assert names(tmp_path) == sorted([f"a{suffix}", "a_flow.png"])
    known = flow_of(1).where(mask(), 0)
    assert torch.equal(drawn(tmp_path / "a_flow.png"), flow_picture(known, mask()))
    assert capsys.readouterr().out == f"{tmp_path / 'a_flow.png'}\n"


@pytest.mark.parametrize("suffix", [".dpt", ".npz", ".pfm", ".png"])
def test_depth_is_drawn_beside_its_file(tmp_path: Path, suffix: str) -> None:
    write_depth(
        tmp_path / f"a{suffix}", depth_of(1), mask(), scale=None if suffix != ".png" else 256
    )
    assert main(["viz", str(tmp_path / f"a{suffix}"), "--depth-scale", "256"]) == 0
    known = depth_of(1).where(mask(), 0)
    unit = "m" if suffix in (".dpt", ".png") else ""  # the others may hold relative depth
    picture = depth_picture(known, mask(), unit=unit)
    assert torch.equal(drawn(tmp_path / "a_depth.png"), picture)


def test_several_files_have_scales_of_their_own(tmp_path: Path) -> None:
    write_flow(tmp_path / "a.flo", flow_of(1))
    write_flow(tmp_path / "b.flo", 3 * flow_of(2))
    write_depth(tmp_path / "c.dpt", torch.full((24, 40), 2.0))
    files = [str(tmp_path / name) for name in ("a.flo", "b.flo", "c.dpt")]
    assert main(["viz", *files, "--output", str(tmp_path / "out")]) == 0
    assert names(tmp_path / "out") == ["a_flow.png", "b_flow.png", "c_depth.png"]
    assert torch.equal(drawn(tmp_path / "out" / "a_flow.png"), flow_picture(flow_of(1)))
    assert torch.equal(drawn(tmp_path / "out" / "b_flow.png"), flow_picture(3 * flow_of(2)))
    flat = depth_picture(torch.full((24, 40), 2.0))
    assert torch.equal(drawn(tmp_path / "out" / "c_depth.png"), flat)


def test_scale_of_flow_can_be_given(tmp_path: Path) -> None:
    write_flow(tmp_path / "a.flo", flow_of(1))
    assert main(["viz", str(tmp_path / "a.flo"), "--max-flow", "50"]) == 0
    assert torch.equal(drawn(tmp_path / "a_flow.png"), flow_picture(flow_of(1), max_norm=50))


def test_flow_of_nothing_that_moves_is_white(tmp_path: Path) -> None:
    write_flow(tmp_path / "a.flo", torch.zeros(2, 24, 40))
    assert main(["viz", str(tmp_path / "a.flo")]) == 0
    assert (drawn(tmp_path / "a_flow.png")[:, :24, :40] == 255).all()


def test_folder_of_flow_is_an_animation_in_one_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, flows = tmp_path / "flow", [flow_of(1), 2 * flow_of(2), flow_of(3)]
    folder.mkdir()
    for name, flow in zip(("f2", "f10", "f9"), flows, strict=True):
        write_flow(folder / f"{name}.flo", flow)
    write_image(folder / "f2.png", torch.zeros(3, 24, 40))  # beside .flo, nobody's flow
    assert main(["viz", str(folder), "--json"]) == 0
    longest = max(flow.norm(dim=0).max().item() for flow in flows)
    for name, flow in zip(("f2", "f10", "f9"), flows, strict=True):
        picture = flow_picture(flow, max_norm=longest)
        assert torch.equal(drawn(folder / f"{name}_flow.png"), picture)
    with Image.open(folder / "flow.gif") as animation:
        assert len(list(ImageSequence.Iterator(animation))) == 3
    pictures = [folder / f"{name}_flow.png" for name in ("f2", "f9", "f10")]
    assert json.loads(capsys.readouterr().out) == {
        "pictures": [str(path) for path in (*pictures, folder / "flow.gif")]
    }


def test_folder_of_depth_is_an_animation_too(tmp_path: Path) -> None:
    (tmp_path / "depth").mkdir()
    for number in range(2):
        write_depth(tmp_path / "depth" / f"{number}.pfm", (1 + number) * depth_of(number))
    assert main(["viz", str(tmp_path / "depth"), "--output", str(tmp_path / "out")]) == 0
    assert names(tmp_path / "out") == ["0_depth.png", "1_depth.png", "depth.gif"]
    near, far = depth_of(0).min().item(), 2 * depth_of(1).max().item()
    picture = depth_picture(depth_of(0), near=near, far=far, unit="")
    assert torch.equal(drawn(tmp_path / "out" / "0_depth.png"), picture)


def test_errors_of_flow_are_drawn_where_both_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_flow(tmp_path / "a.flo", flow_of(1))
    write_flow(tmp_path / "truth.npz", flow_of(2), mask())
    files = [str(tmp_path / name) for name in ("a.flo", "truth.npz")]
    assert main(["viz", files[0], "--truth", files[1]]) == 0
    assert names(tmp_path) == ["a.flo", "a_error.png", "a_flow.png", "truth.npz"]
    error = endpoint_error(flow_of(1), flow_of(2).where(mask(), 0))
    assert torch.equal(drawn(tmp_path / "a_error.png"), error_picture(error, mask()))
    mean = error[mask()].mean().item()
    assert capsys.readouterr().out.startswith(f"mean error {mean:.4g} px\n")


@pytest.mark.parametrize(("suffix", "unit"), [(".dpt", "m"), (".pfm", "")])
def test_errors_of_depth_are_in_metres_where_both_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, unit: str
) -> None:
    write_depth(tmp_path / f"a{suffix}", depth_of(1))
    write_depth(tmp_path / "truth.dpt", depth_of(2), mask())
    files = [str(tmp_path / name) for name in (f"a{suffix}", "truth.dpt")]
    assert main(["viz", files[0], "--truth", files[1], "--json"]) == 0
    error = (depth_of(1) - depth_of(2).where(mask(), 0)).abs()
    picture = error_picture(error, mask(), unit=unit)
    assert torch.equal(drawn(tmp_path / "a_error.png"), picture)
    result = json.loads(capsys.readouterr().out)
    assert result["mean_error"] == pytest.approx(error[mask()].mean().item())
    assert result["unit"] == unit


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "mixed", "full", "one", "two"):
        (tmp_path / folder).mkdir()
    for name in ("a.flo", "full/a.flo", "one/b.flo", "two/b.flo"):
        write_flow(tmp_path / name, flow_of(1))
    write_flow(tmp_path / "mixed" / "a.pfm", flow_of(1))
    write_depth(tmp_path / "mixed" / "b.pfm", depth_of(1))
    write_depth(tmp_path / "depth.png", depth_of(1), scale=256)
    write_image(tmp_path / "picture.png", torch.zeros(3, 24, 40))
    write_flow(tmp_path / "small.flo", flow_of(1, height=8))
    write_flow(tmp_path / "unknown.flo", flow_of(1), torch.zeros(24, 40, dtype=torch.bool))
    write_flow(tmp_path / "top.npz", flow_of(1), ~mask())
    write_flow(tmp_path / "bottom.npz", flow_of(1), mask())
    (tmp_path / "text.flo").write_text("no flow")
    (tmp_path / "text.dpt").write_text("no depth")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "files (none) must be at least one file; name one, or a folder"),
        (["b.flo"], "b.flo must exist; check the path"),
        (["a.jpg"], "a.jpg must end in one of .flo, .dpt, .npz, .pfm, .png; choose another file"),
        (
            ["empty"],
            "files (empty) must hold files that end in one of .flo, .dpt, .npz, .pfm, .png; choose "
            "another folder",
        ),
        (
            ["mixed"],
            "mixed/b.pfm (depth) must be of the kind of mixed/a.pfm (flow); draw them one by one",
        ),
        (
            ["a.flo", "picture.png"],
            "picture.png must hold flow or depth, undamaged; check what it is, or fetch it again",
        ),
        (
            ["text.flo"],
            "text.flo must begin with the tag PIEH and its size; check that it is what its suffix "
            "says",
        ),
        (
            ["text.dpt"],
            "text.dpt must begin with the tag PIEH and its size; check that it is what its suffix "
            "says",
        ),
        (
            ["depth.png"],
            "depth_scale (None) must be given for depth.png, since a PNG does not say its unit; "
            "choose --depth-scale 256 for KITTI, 1000 for NYU and 7-Scenes, 5000 for TUM",
        ),
        (["unknown.flo"], "unknown.flo must have a known pixel to be drawn; choose another file"),
        (
            ["one/b.flo", "two/b.flo", "--output", "out"],
            "out/b_flow.png must be the picture of one file alone; draw files of one name one "
            "by one",
        ),
        (
            ["a.flo", "one/b.flo", "--truth", "a.flo"],
            "truth (a.flo) must belong to one file; name that file alone",
        ),
        (
            ["full", "--truth", "a.flo"],
            "truth (a.flo) must belong to one file; name that file alone",
        ),
        (
            ["a.flo", "--truth", "small.flo"],
            "truth (small.flo, flow of 40 x 8) must be what a.flo is, flow of 40 x 24; choose "
            "another --truth",
        ),
        (
            ["top.npz", "--truth", "bottom.npz"],
            "truth (bottom.npz) must be known where top.npz is, at one pixel at least; choose "
            "another --truth",
        ),
        (
            ["a.flo", "--output", "full"],
            "output (full) must be an empty or new folder; choose another --output",
        ),
        (
            ["a.flo", "--max-flow", "-1"],
            "max_flow (-1) must be above 0 and finite; choose another --max-flow",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    before = sorted(here.rglob("*"))
    assert main(["viz", *options]) == 2
    assert capsys.readouterr().err == f"error: {told}\n"
    assert sorted(here.rglob("*")) == before


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["viz", "a.flo"]) == 0
    before = (here / "a_flow.png").read_bytes()
    assert main(["viz", "a.flo", "--max-flow", "9"]) == 2
    assert capsys.readouterr().err == (
        "error: a_flow.png must not exist yet; move it away, or choose --output FOLDER\n"
    )
    assert (here / "a_flow.png").read_bytes() == before

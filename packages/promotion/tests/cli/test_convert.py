from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from promotion.cli import main
from promotion.io import read_depth, read_flow, write_depth, write_flow

FLOW = torch.linspace(-3, 5, 2 * 6 * 7).reshape(2, 6, 7)
DEPTH = torch.linspace(1, 9, 42).reshape(6, 7)
KNOWN = torch.arange(42).reshape(6, 7) % 5 != 0


def convert(output: Path, *arguments: str | Path) -> int:
    return main(["convert", *map(str, arguments), "-o", str(output)])


@pytest.mark.parametrize("form", ["flo", "flo5", "npz", "pfm"])
@pytest.mark.parametrize("source", ["flo", "flo5", "npz", "pfm"])
def test_flow_loses_nothing_between_formats_of_floats(
    tmp_path: Path, source: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_flow(tmp_path / f"a.{source}", FLOW, KNOWN)
    out = tmp_path / "out"
    assert convert(out, tmp_path / f"a.{source}", "--to", form, "--quiet", "--json") == 0
    found = read_flow(out / f"a.{form}")
    assert found.valid.equal(KNOWN)
    assert found.flow.equal(FLOW.where(KNOWN, 0))
    (told,) = json.loads(capsys.readouterr().out)["files"]
    assert (told["rounded_by"], told["changed_validity"]) == (0, 0)


def test_what_is_lost_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    write_flow(tmp_path / "in" / "a.flo", FLOW, KNOWN)
    write_flow(tmp_path / "in" / "b.flo", torch.ones(2, 6, 7))
    out = tmp_path / "out"
    assert convert(out, tmp_path / "in", "--to", "png") == 0
    kept = read_flow(out / "a.png")
    apart = float((kept.flow - FLOW).abs()[:, KNOWN].max())
    assert 0 < apart <= 1 / 128
    assert capsys.readouterr().out == (
        f"{out}/a.png: rounded by up to {apart:.3g}\n{out}/b.png: nothing is lost\n"
    )


def test_depth_is_written_in_its_scale(tmp_path: Path) -> None:
    write_depth(tmp_path / "a.png", DEPTH, KNOWN, scale=256)
    first, second = tmp_path / "first", tmp_path / "second"
    assert convert(first, tmp_path / "a.png", "--to", "dpt", "--depth-scale", "256") == 0
    stored = read_depth(tmp_path / "a.png", scale=256)
    found = read_depth(first / "a.dpt")
    assert found.depth.equal(stored.depth)
    assert found.valid.equal(stored.valid)
    assert convert(second, first / "a.dpt", "--to", "png", "--written-scale", "1000") == 0
    again = read_depth(second / "a.png", scale=1000)
    torch.testing.assert_close(again.depth, stored.depth, rtol=0, atol=0.5 / 1000 + 1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["depth.dpt", "--to", "flo"],
            "to (flo) must be one of dpt, npz, pfm, png for depth.dpt, which holds depth; choose "
            "another --to",
        ),
        (
            ["depth.dpt", "--to", "png"],
            "written_scale (None) must be given for depth.dpt, since a PNG does not say its unit; "
            "choose --written-scale 256 for KITTI, 1000 for NYU and 7-Scenes, 5000 for TUM",
        ),
        (
            ["flow.flo", "flow.npz", "--to", "pfm"],
            "files (flow.flo and flow.npz) must differ in their names, which what is written gets; "
            "convert them one by one",
        ),
        (
            ["empty", "--to", "pfm"],
            "files (empty) must hold files that end in one of .flo, .dpt, .npz, .pfm, .png, .flo5; "
            "choose another folder",
        ),
        (
            ["--to", "pfm"],
            "files (none) must be at least one file; name one, or a folder",
        ),
        (
            ["far.flo", "--to", "png"],
            "far.png",
        ),
    ],
)
def test_what_cannot_be_converted_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    write_depth("depth.dpt", DEPTH)
    for name in ("flow.flo", "flow.npz"):
        write_flow(name, FLOW)
    write_flow("far.flo", 600 + FLOW)
    assert convert(Path("out"), *arguments) == 2
    told = capsys.readouterr().err
    assert said in told
    assert not list(tmp_path.glob("out/*"))

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from promotion import ProMotion
from promotion.cli import main
from promotion.geometry import pinhole, point_cloud, scene_flow, write_ply
from promotion.io import read_image, write_image


def cloud(output: Path, weights: Path, *options: str) -> int:
    return main(["cloud", "-o", str(output), "--weights", str(weights), *options])


def test_clouds_are_those_of_depth_and_flow(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for number, path in enumerate(paths):
        generator = torch.Generator().manual_seed(number)
        write_image(path, torch.rand(3, 24, 40, generator=generator))
    first, second = (read_image(path) for path in paths)
    model = ProMotion.from_pretrained(weights)

    assert cloud(tmp_path / "one", weights, str(paths[0]), "--focal", "30") == 0
    capsys.readouterr()
    points = point_cloud(model.predict(first).depth, pinhole(30, 24, 40)).flatten(1)
    write_ply(tmp_path / "expected.ply", points, first.flatten(1))
    written = (tmp_path / "one" / "cloud.ply").read_bytes()
    assert written == (tmp_path / "expected.ply").read_bytes()

    assert cloud(tmp_path / "two", weights, *map(str, paths), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["points"], told["moved"]) == (24 * 40, True)
    there, back = model.predict(first, second), model.predict(second, first)
    assert there.flow is not None
    camera = pinhole(0.9 * 40, 24, 40)
    motion = scene_flow(there.depth, back.depth, there.flow, camera).flatten(1)
    points = point_cloud(there.depth, camera).flatten(1)
    write_ply(tmp_path / "expected.ply", points, first.flatten(1), motion)
    written = (tmp_path / "two" / "cloud.ply").read_bytes()
    assert written == (tmp_path / "expected.ply").read_bytes()


def test_other_numbers_of_pictures_are_refused(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cloud(tmp_path / "out", weights, "a.png", "b.png", "c.png") == 2
    assert "pictures (3 given) must be one or two; name them" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

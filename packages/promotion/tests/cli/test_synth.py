from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from promotion.cli import main
from promotion.datasets import flying_chairs
from promotion.io import read_depth, read_image
from promotion.scenes import SceneConfig, render_scene

SMALL = ["--height", "24", "--width", "32"]


def test_folder_holds_the_scenes_of_consecutive_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "scenes"
    options = ["--output", str(folder), "--count", "3", "--seed", "5", "--objects", "1", "2"]
    assert main(["synth", *options, *SMALL]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"3 scenes of 32 x 24 in {folder}: mean flow ")
    assert "rendering 3/3" in err

    made_with = json.loads((folder / "scenes.json").read_text())
    assert (made_with["seed"], made_with["count"]) == (5, 3)
    config = made_with["config"]
    assert SceneConfig(**{**config, "objects": tuple(config["objects"])}) == SceneConfig(
        height=24, width=32, objects=(1, 2)
    )
    dataset = flying_chairs(folder)
    assert len(dataset) == 3
    for number in range(3):
        scene = render_scene(SceneConfig(height=24, width=32, objects=(1, 2)), 5 + number)
        sample = dataset[number]
        torch.testing.assert_close(sample.image1, scene.image1, atol=0.003, rtol=0)
        torch.testing.assert_close(sample.image2, scene.image2, atol=0.003, rtol=0)
        assert torch.equal(sample.flow, scene.flow)
        assert torch.equal(sample.depth, scene.depth1)
        second = read_depth(folder / f"0000{number}_depth2.pfm")
        assert torch.equal(second.depth, scene.depth2)
        occlusion = read_image(folder / f"0000{number}_occlusion.png")
        assert torch.equal(occlusion, scene.occlusion.float().expand(3, -1, -1))
        intrinsics = torch.tensor(made_with["intrinsics"][f"0000{number}"])
        torch.testing.assert_close(intrinsics, scene.intrinsics)


def test_result_is_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", "--output", str(tmp_path), "--count", "1", "--json", *SMALL]) == 0
    result = json.loads(capsys.readouterr().out)
    scene = render_scene(SceneConfig(height=24, width=32), 0)
    assert result["output"] == str(tmp_path)
    assert result["mean_flow"] == pytest.approx(float(scene.flow.norm(dim=0).mean()))
    assert result["occluded"] == pytest.approx(float(scene.occlusion.float().mean()))
    assert (result["seed"], result["count"], result["config"]["width"]) == (0, 1, 32)


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["synth", "--output", str(tmp_path), *SMALL]) == 2
    assert capsys.readouterr().err == (
        f"error: output ({tmp_path}) must be an empty or new folder; choose another --output\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--count", "0"], "count (0) must be at least 1; choose another --count"),
        (["--height", "3"], "height (3) must be at least 16; choose a larger height"),
        (["--count", "many"], "--count (many) must be a whole number; see promotion synth --help"),
        (["--motion", "2"], "motion (2) must be above 0 and at most 0.3; choose another motion"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    told: str,
) -> None:
    assert main(["synth", "--output", str(tmp_path / "new"), *options]) == 2
    assert capsys.readouterr().err == f"error: {told}\n"
    assert not (tmp_path / "new").exists()


def test_without_an_output_a_numbered_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["synth", "--count", "1", "--quiet", *SMALL]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "promotion-synth-001",
        "promotion-synth-002",
    ]

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from promotion import ProMotion
from promotion.cli import main
from promotion.datasets import open_folder
from promotion.io import write_depth, write_flow, write_image
from promotion.metrics import (
    Alignment,
    Crop,
    DepthAccumulator,
    DepthMetrics,
    FlowAccumulator,
    depth_metrics,
    flow_metrics,
)
from promotion.scenes import SceneConfig, render_scene
from promotion.training._evaluate import HELD_OUT

SMALL = ["--height", "24", "--width", "32"]
SCENES = SceneConfig(height=24, width=32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    assert main(["synth", "--output", str(folder), "--count", "3", "--quiet", *SMALL]) == 0
    return folder


def evaluate(output: Path, weights: Path, *options: str) -> int:
    return main(["eval", "--output", str(output), "--weights", str(weights), *options])


def metrics(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return read


def rows_of(table: str) -> dict[str, list[str]]:
    lines = [line.split() for line in table.splitlines() if line.strip()]
    return {" ".join(line[:-2]): line[-2:] for line in lines}


def test_data_set_is_measured_as_the_metrics_do(
    tmp_path: Path, dataset: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path / "out", weights, "--dataset", str(dataset)) == 0
    out, err = capsys.readouterr()
    model = ProMotion.from_pretrained(weights)
    flow, zero = FlowAccumulator(), FlowAccumulator()
    depth, constant = (
        DepthAccumulator(alignment=Alignment.MEDIAN, crop=Crop.NONE) for _ in range(2)
    )
    result = metrics(tmp_path / "out")
    samples = open_folder(dataset)
    for number, measured in enumerate(result["per_sample"]):
        sample = samples[number]
        occlusion = samples.files[number].read_occlusion()
        truth = (sample.flow, sample.flow_valid, occlusion)
        motion = model.predict(sample.image1, sample.image2)
        assert motion.flow is not None
        assert occlusion is not None
        flow.update(motion.flow, *truth)
        zero.update(torch.zeros(2, 24, 32), *truth)
        depth.update(motion.depth, sample.depth, sample.depth_valid)
        constant.update(torch.ones(24, 32), sample.depth, sample.depth_valid)
        assert measured["sample"] == f"0000{number}_img1.png"
        assert measured["flow"] == asdict(flow_metrics(motion.flow, *truth))
    assert result["samples"] == len(result["per_sample"]) == 3
    assert result["flow"] == pytest.approx(asdict(flow.compute()))
    assert result["zero_flow"] == pytest.approx(asdict(zero.compute()))
    assert DepthMetrics(**result["depth"]) == depth.compute()
    assert DepthMetrics(**result["constant_depth"]) == constant.compute()

    flow_table, depth_table = out.split("Depth, alignment median, crop none")
    assert flow_table.startswith("Flow ")
    rows, depth_rows = rows_of(flow_table), rows_of(depth_table)
    epe = [result[name]["epe"] for name in ("flow", "zero_flow")]
    assert rows["endpoint error, pixels"] == [f"{value:.4g}" for value in epe]
    delta = [100 * result[name]["delta1"] for name in ("depth", "constant_depth")]
    assert depth_rows["delta < 1.25, %"] == [f"{value:.4g}" for value in delta]
    occluded = [result[name]["epe_occluded"] for name in ("flow", "zero_flow")]
    assert rows["endpoint error, occluded"] == [f"{value:.4g}" for value in occluded]
    assert rows["pairs"] == depth_rows["frames"] == ["3", "3"]
    assert rows["pixels"] == depth_rows["pixels"] == ["2304", "2304"]
    assert f"the figures of each sample are in {tmp_path / 'out'}\n" in out
    assert "evaluating 3/3" in err


def test_layout_is_the_one_that_is_named(
    tmp_path: Path, dataset: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--dataset", str(dataset), "--limit", "1", "--layout"]
    assert evaluate(tmp_path / "out", weights, *options, "flying-chairs", "--quiet") == 0
    capsys.readouterr()
    assert evaluate(tmp_path / "other", weights, *options, "spring") == 2
    assert f"{dataset} must hold files of a known layout: */flow" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "other").exists()


def test_spreadsheet_has_a_line_for_each_sample(
    tmp_path: Path, dataset: Path, weights: Path
) -> None:
    options = ["--dataset", str(dataset), "--limit", "2", "--quiet"]
    assert evaluate(tmp_path / "out", weights, *options) == 0
    samples = metrics(tmp_path / "out")["per_sample"]
    with (tmp_path / "out" / "metrics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["sample"] for line in lines] == [sample["sample"] for sample in samples]
    assert len(lines) == 2
    for line, sample in zip(lines, samples, strict=True):
        assert float(line["flow_epe"]) == sample["flow"]["epe"]
        assert float(line["zero_flow_fl_all"]) == sample["zero_flow"]["fl_all"]
        assert float(line["depth_abs_rel"]) == sample["depth"]["abs_rel"]
        assert float(line["constant_depth_silog"]) == sample["constant_depth"]["silog"]
        assert float(line["flow_epe_occluded"]) == sample["flow"]["epe_occluded"]
        assert line["flow_epe_s40_plus"] == ""


def test_scenes_are_held_out_and_tell_what_is_occluded(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--scenes", "2", "--json", "--iterations", "1", *SMALL]
    assert evaluate(tmp_path / "out", weights, *options) == 0
    model, flow = ProMotion.from_pretrained(weights), FlowAccumulator()
    for number in range(2):
        scene = render_scene(SCENES, HELD_OUT + number)
        motion = model.predict(scene.image1, scene.image2, iterations=1)
        assert motion.flow is not None
        flow.update(motion.flow, scene.flow, scene.flow_valid, scene.occlusion)
    result = json.loads(capsys.readouterr().out)
    assert result["flow"] == asdict(flow.compute())
    assert result["flow"]["epe_occluded"] is not None
    assert (result["scenes"], result["dataset"], result["samples"]) == (2, None, 2)
    assert (result["output"], result["weights"]) == (str(tmp_path / "out"), str(weights))
    written = metrics(tmp_path / "out")
    assert [sample["sample"] for sample in written["per_sample"]] == ["scene 0", "scene 1"]
    assert {**written, "output": str(tmp_path / "out")} == {
        **result,
        "per_sample": written["per_sample"],
    }


def nyu(folder: Path) -> Path:
    """Two frames with depth, none with a partner."""
    (folder / "room").mkdir(parents=True)
    for number in range(2):
        scene = render_scene(SCENES, number)
        write_image(folder / "room" / f"rgb_0000{number}.jpg", scene.image1)
        path = folder / "room" / f"sync_depth_0000{number}.png"
        write_depth(path, scene.depth1, scale=1000)
    return folder


@pytest.mark.parametrize(
    ("name", "alignment", "fitted"),
    [
        ("raw", Alignment.RAW, Alignment.MEDIAN),
        ("median", Alignment.MEDIAN, Alignment.MEDIAN),
        ("scale-and-shift", Alignment.SCALE_AND_SHIFT, Alignment.SCALE_AND_SHIFT),
    ],
)
def test_depth_alone_is_measured_by_the_protocol(
    tmp_path: Path,
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    alignment: Alignment,
    fitted: Alignment,
) -> None:
    folder = nyu(tmp_path / "nyu")
    options = ["--alignment", name, "--crop", "garg", "--max-depth", "20"]
    assert evaluate(tmp_path / "out", weights, "--dataset", str(folder), *options) == 0
    model, dataset = ProMotion.from_pretrained(weights), open_folder(folder)
    samples = [dataset[number] for number in range(2)]
    depth = torch.stack([model.predict(sample.image1).depth for sample in samples])
    truth = torch.stack([sample.depth for sample in samples])
    valid = torch.stack([sample.depth_valid for sample in samples])
    result = metrics(tmp_path / "out")
    expected = depth_metrics(depth, truth, valid, alignment=alignment, crop=Crop.GARG, max_depth=20)
    assert DepthMetrics(**result["depth"]) == expected
    constant = depth_metrics(
        torch.ones_like(truth), truth, valid, alignment=fitted, crop=Crop.GARG, max_depth=20
    )
    assert DepthMetrics(**result["constant_depth"]) == constant
    assert result["flow"] is result["zero_flow"] is None
    assert result["per_sample"][0]["sample"] == "room/rgb_00000.jpg"
    assert capsys.readouterr().out.startswith(f"Depth, alignment {name}, crop garg ")


def chairs(folder: Path, *, known: bool) -> Path:
    """One pair without depth."""
    folder.mkdir()
    scene = render_scene(SCENES, 0)
    write_image(folder / "1_img1.png", scene.image1)
    write_image(folder / "1_img2.png", scene.image2)
    valid = torch.full((24, 32), known)
    write_flow(folder / "1_flow.flo", scene.flow, valid)
    return folder


def test_flow_alone_is_measured_too(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = chairs(tmp_path / "chairs", known=True)
    assert evaluate(tmp_path / "out", weights, "--dataset", str(folder)) == 0
    result = metrics(tmp_path / "out")
    assert result["depth"] is result["constant_depth"] is None
    assert result["flow"]["images"] == 1
    out = capsys.readouterr().out
    assert "Depth" not in out
    assert "occluded" not in out
    with (tmp_path / "out" / "metrics.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["depth_abs_rel"] == ""


def test_data_set_without_truth_is_refused(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = chairs(tmp_path / "chairs", known=False)
    assert evaluate(tmp_path / "out", weights, "--dataset", str(folder), "--quiet") == 2
    assert capsys.readouterr().err == (
        "error: truth (1 samples) must be known at one pixel at least; choose another data set, "
        "crop or largest depth\n"
    )
    assert not (tmp_path / "out").exists()


def test_existing_folder_is_refused(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert evaluate(tmp_path, weights, "--scenes", "1") == 2
    assert capsys.readouterr().err == (
        f"error: output ({tmp_path}) must be an empty or new folder; choose another --output\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            [],
            "dataset (None) and scenes (None) must not both be given or both be absent; choose "
            "--dataset FOLDER or --scenes N",
        ),
        (
            ["--dataset", "a", "--scenes", "2"],
            "dataset (a) and scenes (2) must not both be given or both be absent; choose "
            "--dataset FOLDER or --scenes N",
        ),
        (["--dataset", "/nowhere"], "/nowhere must be a folder; check the path"),
        (["--scenes", "0"], "scenes (0) must be at least 1; choose another --scenes"),
        (
            ["--dataset", "a", "--limit", "0"],
            "limit (0) must be at least 1; choose another --limit",
        ),
        (
            ["--scenes", "1", "--max-depth", "0"],
            "max_depth (0) must be above min_depth (0.001); raise the one or lower the other",
        ),
        (
            ["--scenes", "1", "--height", "8"],
            "height (8) must be at least 16; choose a larger height",
        ),
        (
            ["--scenes", "1", "--weights", "/nowhere"],
            "weights (/nowhere) must be a folder, or the id of a model on the hub that can be "
            "reached; check the name",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    tmp_path: Path,
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    told: str,
) -> None:
    assert evaluate(tmp_path / "out", weights, *options) == 2
    assert capsys.readouterr().err == f"error: {told}\n"
    assert not (tmp_path / "out").exists()

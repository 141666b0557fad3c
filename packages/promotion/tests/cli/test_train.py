from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from promotion import ProMotion
from promotion.cli import main
from promotion.training import Trainer, read_training_config
from tokenseek_common import RunError

STAGE = {"name": "only", "steps": 3, "batch_size": 1, "sizes": [[32, 40]], "iterations": 1}
CONFIG: dict[str, Any] = {
    "model": {"size": "nano", "em_steps": 0},
    "workers": 0,
    "held_out": 1,
    "save_every": 2,
    "evaluate_every": 1,
    "seed": 7,
    "stages": [STAGE],
}


def write(folder: Path, **changes: Any) -> str:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG | changes))
    return str(path)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The process is asked to end in the first step; undone by its `undo`."""
    taken = Trainer._take_step

    def step(trainer: Trainer, batch: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return taken(trainer, batch)

    monkeypatch.setattr(Trainer, "_take_step", step)
    return monkeypatch


def steps_of(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


def same_weights(first: Path, second: Path) -> bool:
    weights, others = (load_file(folder / "model.safetensors") for folder in (first, second))
    return all(torch.equal(weights[name], others[name]) for name in weights)


def test_weights_are_trained_and_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config", write(tmp_path)]) == 0
    out, err = capsys.readouterr()
    told = [line.strip() for line in out.splitlines()]
    assert told[0] == "Parameters, 100.00% trained"
    (ends,) = (place for place, line in enumerate(told) if line.startswith("3 steps, in "))
    assert told[ends].endswith(" s on 1 process: weights in promotion-train-001")
    assert told[ends + 1] == "On 1 held-out scenes"
    assert all(name in out for name in ("epe", "epe_zero", "abs_rel", "abs_rel_median"))
    assert "training 3/3" in err
    folder = tmp_path / "promotion-train-001"
    motion = ProMotion.from_pretrained(folder).predict(torch.rand(3, 32, 40), torch.rand(3, 32, 40))
    assert motion.flow is not None
    assert read_training_config(folder / "training.yaml") == read_training_config(
        tmp_path / "config.yaml"
    )
    assert steps_of(folder) == [1, 2, 3]


def test_the_result_is_one_json_object_and_a_given_seed_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    options = ["--output", str(folder), "--json", "--seed", "3", "--no-movement-check"]
    assert main(["train", "--config", write(tmp_path), *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["output"], result["steps"], result["processes"]) == (str(folder), 3, 1)
    assert result["seed"] == read_training_config(folder / "training.yaml").seed == 3
    assert result["seconds"] > 0
    last = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    assert result["evaluation"] == {
        name: last[name] for name in ("epe", "epe_zero", "abs_rel", "abs_rel_median")
    }


def test_a_training_that_was_asked_to_end_is_resumed_exactly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ended: pytest.MonkeyPatch
) -> None:
    config = write(tmp_path)
    cut = tmp_path / "cut"
    assert main(["train", "--config", config, "--output", str(cut)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: training was asked to end at step 1 of 3, and has saved itself; go on with the "
        f"same config, --output {cut} and --resume"
    )
    ended.undo()

    assert main(["train", "--config", config, "--output", str(cut)]) == 2
    assert capsys.readouterr().err == (
        f"error: output ({cut}) must be an empty or new folder, and holds a training; "
        "go on with it by --resume, or choose another --output\n"
    )
    with (cut / "log.jsonl").open("a") as log:  # of a step after the checkpoint
        log.write(json.dumps({"step": 2, "epe": 1.0}) + "\n")
        log.write('{"step": 3, "ep')  # and cut off
    assert main(["train", "--config", config, "--output", str(cut), "--resume"]) == 0
    assert steps_of(cut) == [1, 2, 3]
    whole = tmp_path / "whole"
    assert main(["train", "--config", config, "--output", str(whole)]) == 0
    assert same_weights(cut, whole)
    capsys.readouterr()

    assert main(["train", "--config", config, "--output", str(cut), "--resume"]) == 2
    assert capsys.readouterr().err == (
        f"error: output ({cut}) must hold an unfinished training, and this one is finished; its "
        "weights are there, to use or to start another training with\n"
    )


def test_a_training_without_a_checkpoint_is_resumed_from_its_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(trainer: Trainer) -> ProMotion:
        raise RunError("cut off")

    options = ["train", "--config", write(tmp_path), "--output", str(tmp_path / "run")]
    monkeypatch.setattr(Trainer, "run", failing)
    assert main(options) == 1
    monkeypatch.undo()
    assert main([*options, "--resume"]) == 0
    assert steps_of(tmp_path / "run") == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "options", "told"),
    [
        ({"clip": 2.0}, [], "clip (2.0) must be 1.0"),
        ({"stages": [STAGE | {"steps": 9}]}, [], "stages.0.steps (9) must be 3"),
        ({"stages": [STAGE, STAGE]}, [], "stages.1.name (only) must be absent"),
        ({}, ["--seed", "8"], "seed (8) must be 7"),
    ],
)
def test_another_training_is_not_gone_on_with(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ended: pytest.MonkeyPatch,
    changes: dict[str, Any],
    options: list[str],
    told: str,
) -> None:
    folder = str(tmp_path / "run")
    assert main(["train", "--config", write(tmp_path), "--output", folder]) == 1
    capsys.readouterr()
    other = write(tmp_path, **changes)
    assert main(["train", "--config", other, "--output", folder, "--resume", *options]) == 2
    assert capsys.readouterr().err == (
        f"error: {told}, as in the training that is resumed; repeat its --config and --seed, or "
        "start anew in another --output\n"
    )


def test_checkpoints_of_shards_are_not_resumed_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ended: pytest.MonkeyPatch
) -> None:
    options = ["train", "--config", write(tmp_path), "--output", str(tmp_path / "run")]
    assert main(options) == 1
    (tmp_path / "run" / "step-00000001" / "shards-of-1").mkdir()
    capsys.readouterr()
    assert main([*options, "--resume"]) == 2
    assert capsys.readouterr().err == (
        "error: FSDP2 (False) must be True, as in the training that is resumed; "
        "start accelerate as for that one\n"
    )


def test_files_that_have_changed_meanwhile_are_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ended: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pairs"
    made = ["synth", "--output", str(folder), "--count", "2", "--height", "32", "--width", "40"]
    assert main([*made, "--quiet"]) == 0
    stages = [STAGE | {"folders": [str(folder)]}]
    options = ["train", "--config", write(tmp_path, stages=stages), "--output", f"{tmp_path}/run"]
    assert main(options) == 1
    ended.undo()
    capsys.readouterr()
    truth = next(folder.rglob("*.flo"))
    content = truth.read_bytes()
    truth.write_bytes(content + b"0")
    assert main([*options, "--resume"]) == 2
    assert capsys.readouterr().err == (
        f"error: folders ({folder}) must hold the files of the training that is resumed; "
        "restore them, or start anew in another --output\n"
    )
    truth.write_bytes(content)
    assert main([*options, "--resume", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--resume"],
            "output (None) must be given with --resume; name the folder of the training",
        ),
        (
            ["--resume", "--output", "FOLDER"],
            "output (FOLDER) must be the folder of a training, with its training.yaml; "
            "check --output, or leave out --resume",
        ),
        (
            ["--resume", "--output", "FOLDER/absent"],
            "output (FOLDER/absent) must be the folder of a training, with its training.yaml; "
            "check --output, or leave out --resume",
        ),
        (
            ["--output", "FOLDER"],
            "output (FOLDER) must be an empty or new folder; choose another --output",
        ),
        (
            ["--config", "FOLDER/absent.yaml"],
            "config (FOLDER/absent.yaml) must be a readable file; check the path",
        ),
        (
            ["--dtype", "bfloat16"],
            "--dtype (bfloat16) must be one of ('auto', 'float32'); see promotion train --help",
        ),
        (["--seed", "-1"], "seed (-1) must be from 0 to 4294967295; choose another --seed"),
        (
            ["--device", "meta"],
            "device (meta) must be one that this machine has; choose --device auto",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    filled = [option.replace("FOLDER", str(tmp_path)) for option in options]
    assert main(["train", "--config", write(tmp_path), *filled]) == 2
    assert capsys.readouterr().err == f"error: {told.replace('FOLDER', str(tmp_path))}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_weights_to_start_with_are_looked_at_before_a_folder_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config", write(tmp_path, start="absent/weights")]) == 2
    assert capsys.readouterr().err == (
        "error: weights (absent/weights) must be a folder, or the id of a model on the hub that "
        "can be reached; check the name\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_launchers_start_the_commands_as_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["promotion", "train"])
    with pytest.raises(SystemExit) as left:
        runpy.run_module("promotion.cli", run_name="__main__")
    assert left.value.code == 2
    assert capsys.readouterr().err == (
        "error: --config FILE must be given; see promotion train --help\n"
    )


def test_the_device_is_the_first_of_its_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenseek_common.cli._device.resolve_device", torch.device)
    assert main(["train", "--config", write(tmp_path), "--device", "cuda:1"]) == 2
    assert capsys.readouterr().err == (
        "error: device (cuda:1) must be the first of its kind; choose --device cuda and set "
        "CUDA_VISIBLE_DEVICES=1\n"
    )


def test_events_hold_the_figures_of_the_log(
    tmp_path: Path, ended: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events_of = import_module("tensorboard.backend.event_processing.event_accumulator")
    folder = tmp_path / "run"
    options = ["train", "--config", write(tmp_path), "--output", str(folder), "--tensorboard"]
    assert main(options) == 1
    ended.undo()
    assert main([*options, "--resume"]) == 0
    events = events_of.EventAccumulator(str(folder)).Reload()
    logged = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for name in ("epe", "usage_entropy"):
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in shown] == [1, 2, 3]
        assert [value for _, value in shown] == pytest.approx(
            [line[name] for line in logged], rel=1e-4
        )


def test_without_tensorboard_its_events_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("promotion.training._log.find_spec", lambda _: None)
    options = ["--output", str(tmp_path / "run"), "--tensorboard"]
    assert main(["train", "--config", write(tmp_path), *options]) == 2
    assert capsys.readouterr().err == (
        "error: tensorboard (True) must find the package tensorboard; "
        'pip install "promotion-flow[tensorboard]"\n'
    )
    assert not (tmp_path / "run").exists()

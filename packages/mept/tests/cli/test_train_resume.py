from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mept.cli import main
from saved import mood_rows, save_rows, save_tiny
from tokenseek_common.training import FiniteTrainer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"), "bert", hidden_dropout_prob=0.1)


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_rows(tmp_path_factory.mktemp("moods") / "mood.jsonl", mood_rows(60))


def train(model: Path, moods: Path, output: Path, *options: str) -> int:
    return main(
        [
            *("train", "--model", str(model), "--task", f"mood={moods}", "-o", str(output)),
            *("--labels", "glad", "sad", "--max-length", "24", "--batch-size", "4"),
            *("--device", "cpu", "--evaluate-every", "2", *options),
        ]
    )


@pytest.fixture(scope="module")
def whole(model: Path, moods: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert train(model, moods, folder, "--steps", "6", "--quiet") == 0
    return folder


def interrupted(run: Path, folder: Path) -> Path:
    """A copy of a run as it was before it was scored."""
    copied = shutil.copytree(run, folder)
    (copied / "result.json").unlink()
    shutil.rmtree(copied / "adapter")
    return copied


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "adapter" / "adapter_model.safetensors")


def same(one: Path, other: Path) -> bool:
    """Whether two runs have come to the same, bit for bit."""
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    figures = [json.loads((run / "result.json").read_text()) for run in (one, other)]
    names = ("dev_curve", "chosen_step", "dev_score", "test", "losses")
    told = [[found[name] for name in names] for found in figures]
    return told[0] == told[1] and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("after", [0, 2, 4, 6])
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    after: int,
    whole: Path,
    model: Path,
    moods: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copied = interrupted(whole, tmp_path / "run")
    for checkpoint in (copied / "checkpoints").iterdir():
        if int(checkpoint.name.removeprefix("checkpoint-")) > after:
            shutil.rmtree(checkpoint)
    assert train(model, moods, copied, "--steps", "6", "--resume") == 0
    place = copied / "checkpoints" / f"checkpoint-{after}" if after else "the beginning"
    assert f"resuming from {place}\n" in capsys.readouterr().err
    assert same(whole, copied)


def test_a_checkpoint_whose_saving_was_interrupted_is_set_aside_and_the_run_goes_on(
    whole: Path, model: Path, moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = interrupted(whole, tmp_path / "run")
    last = copied / "checkpoints" / "checkpoint-6"
    (last / "checkpoint-is-incomplete.txt").touch()
    (last.parent / "cut-off-checkpoint-6-1").mkdir()  # it has happened before
    assert train(model, moods, copied, "--steps", "6", "--resume") == 0
    assert f"skipping {last}, its saving was interrupted" in capsys.readouterr().err
    assert (last.parent / "cut-off-checkpoint-6-2" / "optimizer.pt").exists()
    assert same(whole, copied)


def test_on_an_interrupt_the_run_saves_itself_and_can_be_resumed(
    model: Path,
    moods: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    stepped = FiniteTrainer.training_step

    def interrupted(trainer: FiniteTrainer, *args: Any) -> Any:
        if trainer.state.global_step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return stepped(trainer, *args)

    monkeypatch.setattr(FiniteTrainer, "training_step", interrupted)
    assert train(model, moods, folder, "--steps", "3", "--quiet") == 130
    assert capsys.readouterr().err == (
        "error: training was asked to end at step 2 of 3, and has saved itself; "
        f"go on with the same options, --output {folder} and --resume\n"
    )
    assert not (folder / "adapter").exists()
    monkeypatch.undo()
    assert train(model, moods, folder, "--steps", "3", "--resume") == 0
    assert f"resuming from {folder / 'checkpoints' / 'checkpoint-2'}" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_the_run(
    model: Path, moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poisoned = shutil.copytree(model, tmp_path / "poisoned")
    state = load_file(poisoned / "model.safetensors")
    state["pooler.dense.bias"][0] = torch.nan
    save_file(state, poisoned / "model.safetensors", metadata={"format": "pt"})
    assert train(poisoned, moods, tmp_path / "run", "--quiet") == 1
    assert capsys.readouterr().err == (
        "error: loss (nan) must be finite, but is not at step 1; lower --learning-rate or look at "
        "the samples (no checkpoint was saved before)\n"
    )


# What cannot be resumed


def refused(
    capsys: pytest.CaptureFixture[str], model: Path, moods: Path, output: Path, *options: str
) -> str:
    before = sorted(output.rglob("*"))
    assert train(model, moods, output, "--resume", "--quiet", *options) == 2
    assert sorted(output.rglob("*")) == before
    return capsys.readouterr().err.removeprefix("error: ").rstrip("\n")


def test_a_run_is_not_resumed_under_other_options(
    whole: Path, model: Path, moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = interrupted(whole, tmp_path / "run")
    assert refused(capsys, model, moods, copied, "--steps", "7", "--top-k", "2") == (
        "top_k (2), steps (7) must be 1, 6, as in the run that is resumed; repeat its options, or "
        "start anew in another --output"
    )


def test_a_run_is_not_resumed_on_other_samples(
    whole: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = interrupted(whole, tmp_path / "run")
    other = save_rows(tmp_path / "other.jsonl", mood_rows(60, seed=3))
    assert refused(capsys, model, other, copied, "--steps", "6") == (
        "samples (train, dev, test) must be those of the run that is resumed; restore the files, "
        "or start anew in another --output"
    )


def test_a_finished_run_is_not_resumed(
    whole: Path, model: Path, moods: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, model, moods, whole, "--steps", "6") == (
        f"output ({whole}) must hold an unfinished run, and this one has its result.json; leave "
        "out --resume and choose another --output"
    )


def test_a_run_whose_record_is_damaged_is_not_resumed(
    whole: Path, model: Path, moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = interrupted(whole, tmp_path / "run")
    record = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(record | {"options": None}))
    assert refused(capsys, model, moods, copied, "--steps", "6") == (
        f"output ({copied}) must hold the run.json of the run that is resumed; start anew in "
        "another --output, without --resume"
    )
    (copied / "run.json").write_text(json.dumps(record | {"samples": {}}))
    assert refused(capsys, model, moods, copied, "--steps", "6") == (
        "samples (train, dev, test) must be those of the run that is resumed; restore the files, "
        "or start anew in another --output"
    )


def test_a_folder_that_is_none_of_a_run_is_not_resumed(
    model: Path, moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, model, moods, tmp_path) == (
        f"output ({tmp_path}) must hold the run.json of the run that is resumed; start anew in "
        "another --output, without --resume"
    )
    missing = tmp_path / "missing"
    assert refused(capsys, model, moods, missing) == (
        f"output ({missing}) must be the folder of the run that is resumed; check --output, or "
        "leave out --resume"
    )


def test_a_random_model_is_resumed_with_the_weights_that_it_had(
    moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--steps", "2", "--quiet")
    run = tmp_path / "run"
    command = ["train", "--model", "random-bert", "--task", f"mood={moods}", "-o", str(run)]
    command += ["--labels", "glad", "sad", *options]
    assert main(command) == 0
    copied = interrupted(run, tmp_path / "copied")
    command[command.index(str(run))] = str(copied)
    assert main([*command, "--resume"]) == 0
    assert same(run, copied)

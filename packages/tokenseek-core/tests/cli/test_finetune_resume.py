from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from saved_llama import save_llama, save_records
from tokenseek_common.training import FiniteTrainer, standing_of
from tokenseek_core.cli import main
from tokenseek_core.models._pretrained import load_pretrained


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_records(tmp_path_factory.mktemp("data") / "train.jsonl")


def finetune(model: Path, records: Path, output: Path, *options: str) -> int:
    return main(
        [
            *("finetune", "--model", str(model), "--data", str(records), "--output", str(output)),
            *("--max-length", "32", "--ratio", "0.4", "--learning-rate", "1e-2", "--device", "cpu"),
            *("--save-steps", "2", *options),
        ]
    )


def weights(folder: Path) -> dict[str, Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def interrupted(run: Path, folder: Path, *, after: int) -> Path:
    """A copy of a run as it was when its checkpoint had just been saved."""
    shutil.copytree(run / f"checkpoint-{after}", folder / f"checkpoint-{after}")
    shutil.copy(run / "finetune.json", folder)
    return folder


EVALUATED = "--eval-data"


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--selector", "random", EVALUATED),
        ("--lora", "--selector", "random"),
        ("--batch-size", "2", "--accumulate", "2", "--bf16"),
        ("--batch-size", "16"),
        ("--packing", "--batch-size", "2"),
        ("--batch-size", "8", "--answer-ratio", "0.5", "--ratio", "0.2"),
    ],
    ids=lambda options: " ".join(options) or "default",
)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    options: tuple[str, ...],
    model: Path,
    records: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if EVALUATED in options:
        options = (*options, str(records))
    options = (*options, "--steps", "4")
    assert finetune(model, records, tmp_path / "whole", *options) == 0
    first = capsys.readouterr().out

    resumed = interrupted(tmp_path / "whole", tmp_path / "resumed", after=2)
    assert finetune(model, records, resumed, *options, "--resume") == 0
    captured = capsys.readouterr()
    assert f"resuming from {resumed / 'checkpoint-2'}" in captured.err
    for figure in ("train loss first", "train loss last", "eval loss before", "eval loss after"):
        rows = [line for line in first.splitlines() if figure in line]
        assert all(row.split() in map(str.split, captured.out.splitlines()) for row in rows)

    whole, again = weights(tmp_path / "whole"), weights(resumed)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.fixture(scope="module", params=["", "--lora"], ids=["model", "adapter"])
def run(
    request: pytest.FixtureRequest,
    model: Path,
    records: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run of four steps with checkpoints after the second and the last."""
    folder = tmp_path_factory.mktemp("run") / "run"
    options = ("--steps", "4", "--quiet", *filter(None, [request.param]))
    assert finetune(model, records, folder, *options) == 0
    return folder


def test_a_run_with_a_cut_off_checkpoint_goes_on_from_the_one_before_and_says_so(
    run: Path, model: Path, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    (copied / "checkpoint-4" / "checkpoint-is-incomplete.txt").touch()
    (copied / "cut-off-checkpoint-4-1").mkdir()  # it has happened before
    options = ("--steps", "4", "--resume")
    lora = ("--lora",) * (run / "adapter_config.json").exists()
    assert finetune(model, records, copied, *options, *lora) == 0
    told = capsys.readouterr().err
    assert f"skipping {copied / 'checkpoint-4'}, its saving was interrupted" in told
    assert f"resuming from {copied / 'checkpoint-2'}" in told
    torch.testing.assert_close(weights(copied), weights(run), rtol=0, atol=0)

    standing = standing_of(copied)
    assert standing.checkpoint is not None
    assert standing.step == 4, "the run has saved at the same step again"
    assert (copied / "cut-off-checkpoint-4-2" / "model.safetensors").exists() != bool(lora)


# Runs that stop by themselves


def test_a_loss_that_is_not_finite_stops_the_run_before_it_reaches_the_weights(
    model: Path, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poisoned = tmp_path / "poisoned"
    shutil.copytree(model, poisoned)
    state = weights(poisoned)
    state["model.norm.weight"][0] = torch.nan
    save_file(state, poisoned / "model.safetensors", metadata={"format": "pt"})
    folder = tmp_path / "run"
    assert finetune(poisoned, records, folder, "--ratio", "1", "--quiet") == 1
    assert capsys.readouterr().err == (
        "error: loss (nan) must be finite, but is not at step 1; lower --learning-rate or look at "
        "the data (no checkpoint was saved before)\n"
    )
    assert {path.name for path in folder.iterdir()} == {"finetune.json"}


def test_a_run_that_diverges_names_the_step_and_keeps_a_healthy_checkpoint(
    model: Path, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    options = ("--learning-rate", "1e30", "--save-steps", "1", "--steps", "50", "--quiet")
    assert finetune(model, records, folder, *options) == 1
    told = capsys.readouterr().err
    standing = standing_of(folder)
    assert standing.checkpoint is not None
    assert f"must be finite, but is not at step {standing.step + 1}; lower --learning-rate" in told
    assert told.endswith(f"({standing.checkpoint} is healthy)\n")
    assert all(value.isfinite().all() for value in weights(standing.checkpoint).values())
    assert not (folder / "model.safetensors").exists()


def test_gradients_that_are_not_finite_stop_the_run_although_the_loss_is(
    model: Path,
    records: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def loaded(source: str, **settings: Any) -> tuple[Any, Any]:
        model, tokenizer = load_pretrained(source, **settings)
        model.get_output_embeddings().weight.register_hook(lambda gradient: gradient * torch.inf)
        return model, tokenizer

    monkeypatch.setattr("tokenseek_core.training._finetune.load_pretrained", loaded)
    assert finetune(model, records, tmp_path / "run", "--quiet") == 1
    assert "gradient norm (nan) must be finite, but is not at step 1" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
def test_on_a_signal_the_run_saves_itself_and_can_be_resumed(
    number: int,
    code: int,
    model: Path,
    records: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    stepped = FiniteTrainer.training_step

    def asked(trainer: FiniteTrainer, *args: Any) -> Any:
        if trainer.state.global_step == 1:
            os.kill(os.getpid(), number)
        return stepped(trainer, *args)

    monkeypatch.setattr(FiniteTrainer, "training_step", asked)
    assert finetune(model, records, folder, "--steps", "3", "--quiet") == code
    assert capsys.readouterr().err == (
        "error: training was asked to end at step 2 of 3, and has saved itself; "
        f"go on with the same options, --output {folder} and --resume\n"
    )
    assert not (folder / "model.safetensors").exists()
    monkeypatch.undo()
    assert finetune(model, records, folder, "--steps", "3", "--resume") == 0
    assert f"resuming from {folder / 'checkpoint-2'}" in capsys.readouterr().err

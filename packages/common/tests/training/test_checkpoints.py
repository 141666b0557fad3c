from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tokenseek_common.training import Standing, set_aside, standing_of

FILES = (
    "trainer_state.json",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "model.safetensors",
)


def save_checkpoint(folder: Path, step: int) -> Path:
    """Write one as the Trainer does."""
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    state = {"global_step": step, "max_steps": 8}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"step": step}, checkpoint / name)
    save_file({"weight": torch.ones(4)}, checkpoint / "model.safetensors")
    return checkpoint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with checkpoints after two and ten steps: by name, the second comes first."""
    for step in (2, 10):
        save_checkpoint(tmp_path, step)
    return tmp_path


def test_a_run_stands_at_its_newest_checkpoint(run: Path) -> None:
    (run / "checkpoint-best").mkdir()  # not of the Trainer
    assert standing_of(run) == Standing(run, run / "checkpoint-10", 10, 8, {})


def test_a_folder_without_checkpoints_stands_at_the_beginning(tmp_path: Path) -> None:
    assert standing_of(tmp_path / "none") == Standing(tmp_path / "none", None, 0, 0, {})


@pytest.mark.parametrize("damage", ["missing", "cut off"])
@pytest.mark.parametrize("part", FILES)
def test_a_checkpoint_that_lacks_something_is_passed_over(
    part: str, damage: str, run: Path
) -> None:
    damaged = run / "checkpoint-10" / part
    if damage == "missing":
        damaged.unlink()
    else:
        damaged.write_bytes(damaged.read_bytes()[:-10])
    told = {run / "checkpoint-10": f"{part} is {damage}"}
    assert standing_of(run) == Standing(run, run / "checkpoint-2", 2, 8, told)


def test_an_adapter_needs_no_weights_of_the_model(run: Path) -> None:
    for checkpoint in run.iterdir():
        (checkpoint / "adapter_config.json").write_text("{}")
        (checkpoint / "model.safetensors").rename(checkpoint / "adapter_model.safetensors")
    assert standing_of(run).step == 10
    (run / "checkpoint-10" / "adapter_model.safetensors").unlink()
    assert standing_of(run).step == 2


def test_a_model_in_several_files_needs_all_of_them(run: Path) -> None:
    checkpoint = run / "checkpoint-10"
    (checkpoint / "model.safetensors").rename(checkpoint / "model-1.safetensors")
    index = '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    (checkpoint / "model.safetensors.index.json").write_text(index)
    assert standing_of(run).step == 2
    shutil.copy(checkpoint / "model-1.safetensors", checkpoint / "model-2.safetensors")
    assert standing_of(run).step == 10


def test_what_is_cut_off_is_set_aside_under_a_name_that_the_trainer_leaves_alone(
    run: Path,
) -> None:
    (run / "checkpoint-10" / "checkpoint-is-incomplete.txt").touch()
    (run / "cut-off-checkpoint-10-1").mkdir()  # it has happened before
    standing = standing_of(run)
    assert standing.cut_off == {run / "checkpoint-10": "its saving was interrupted"}
    set_aside(standing)
    assert (run / "cut-off-checkpoint-10-2" / "optimizer.pt").exists()
    assert standing_of(run) == Standing(run, run / "checkpoint-2", 2, 8, {})

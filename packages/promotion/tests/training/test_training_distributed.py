from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from promotion import ProMotion
from promotion.training import Trainer, read_training_config
from tokenseek_common import InputError
from tokenseek_common.cli import Console
from training_worker import KINDS, PROCESSES, Told

pytestmark = [pytest.mark.distributed, pytest.mark.slow]
each_kind = pytest.mark.parametrize("kind", KINDS)


def told(folder: Path, name: str) -> list[Told]:
    """What each process told."""
    texts = [(folder / f"{name}-{rank}.json").read_text() for rank in range(PROCESSES)]
    return [Told(**json.loads(text)) for text in texts]


def weights(folder: Path, rank: int) -> dict[str, dict[str, Tensor]]:
    loaded: dict[str, dict[str, Tensor]] = torch.load(folder / f"weights-{rank}.pt")
    return loaded


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


@each_kind
def test_all_processes_end_with_the_same_weights(worked: Path, kind: str) -> None:
    first, second = (weights(worked / kind, rank) for rank in range(2))
    assert all(bool(value.isfinite().all()) for value in first["weights"].values())
    assert equal(first["weights"], second["weights"])
    assert equal(first["average"], second["average"])


def test_shards_are_trained_as_whole_models_are(worked: Path) -> None:
    whole, sharded = (weights(worked / kind, 0)["average"] for kind in KINDS)
    assert whole.keys() == sharded.keys()
    for name, value in whole.items():
        torch.testing.assert_close(sharded[name], value, rtol=1e-4, atol=1e-5)


@each_kind
def test_what_they_save_loads_and_predicts(worked: Path, kind: str) -> None:
    model = ProMotion.from_pretrained(worked / kind / "promotion-train-001")
    assert equal(model.state_dict(), weights(worked / kind, 0)["average"])
    motion = model.predict(torch.rand(3, 40, 56), torch.rand(3, 40, 56))
    assert motion.flow is not None
    assert motion.flow.shape == (2, 40, 56)


@each_kind
def test_the_main_process_alone_opens_one_folder_and_tells(worked: Path, kind: str) -> None:
    main, other = told(worked / kind, "whole")
    assert [main.code, other.code] == [0, 0]
    assert json.loads(main.out)["output"] == "promotion-train-001"
    assert json.loads(main.out)["processes"] == PROCESSES
    assert other.out == other.err == ""
    assert not (worked / kind / "promotion-train-002").exists()


@each_kind
def test_what_the_main_process_refuses_the_others_leave_in_silence(worked: Path, kind: str) -> None:
    main, other = told(worked / kind, "refused")
    assert main.err == (
        "error: output (promotion-train-001) must be an empty or new folder, and holds a "
        "training; go on with it by --resume, or choose another --output\n"
    )
    assert (main.code, main.out) == (2, "")
    assert other == Told(2, "", "")


@each_kind
def test_all_end_at_the_same_step_when_one_is_asked_to(worked: Path, kind: str) -> None:
    main, other = told(worked / kind, "cut")
    assert main.err.splitlines()[-1] == (
        "error: training was asked to end at step 2 of 4, and has saved itself; go on with the "
        "same config, --output cut and --resume"
    )
    assert main.code == 1
    assert other == Told(1, "", "")


@each_kind
def test_resumed_training_ends_with_exactly_the_same_weights(worked: Path, kind: str) -> None:
    assert [each.code for each in told(worked / kind, "resumed")] == [0, 0]
    resumed = ProMotion.from_pretrained(worked / kind / "cut")
    assert equal(resumed.state_dict(), weights(worked / kind, 0)["average"])


@each_kind
def test_a_loss_that_is_not_finite_on_one_process_ends_all(worked: Path, kind: str) -> None:
    main, other = told(worked / kind, "infinite")
    assert main.err.splitlines()[-1] == (
        "error: loss (inf) must be finite at step 0; lower the learning_rate"
    )
    assert main.code == 1
    assert other == Told(1, "", "")


def test_a_training_of_two_processes_is_not_resumed_by_one(worked: Path) -> None:
    config = read_training_config(worked / "config.yaml")
    with pytest.raises(InputError) as error:
        Trainer(config, worked / "ddp" / "cut", Console(quiet=True))
    assert str(error.value) == (
        "processes (1) must be 2, as in the training that is resumed; start 2"
    )

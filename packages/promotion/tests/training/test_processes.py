from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from promotion import ProMotion, ProMotionConfig
from promotion.cli._train import told_once
from promotion.training import StageConfig, Trainer, TrainingConfig
from promotion.training._processes import start_processes
from tokenseek_common import InputError, RunError
from tokenseek_common.cli import Console
from tokenseek_common.training import LostProcessError

STAGE = StageConfig(name="flow", steps=1, batch_size=1, sizes=((32, 40),), tasks=("flow",))
CONFIG = TrainingConfig(
    model=ProMotionConfig.size("nano"),
    stages=(STAGE, STAGE),
    workers=0,
    save_every=1,
    held_out=1,
)


@pytest.fixture
def sharded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process as one that was started to hold a shard: the only one."""
    environment = {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "OMP_NUM_THREADS": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    AcceleratorState._reset_state(reset_partial_state=True)
    store = (tmp_path / "store").as_uri()
    dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    AcceleratorState._reset_state(reset_partial_state=True)


def train(folder: Path) -> ProMotion:
    folder.mkdir(exist_ok=True)
    return Trainer(CONFIG, folder, Console(quiet=True)).run()


@pytest.fixture
def whole(tmp_path: Path) -> ProMotion:
    return train(tmp_path / "whole")


def test_one_shard_is_trained_and_resumed_as_the_whole_model_is(
    tmp_path: Path, whole: ProMotion, sharded: None
) -> None:
    assert start_processes().is_fsdp2
    model = train(tmp_path / "sharded")
    (tmp_path / "sharded" / "step-00000002").rename(tmp_path / "newest")
    resumed = train(tmp_path / "sharded")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)
        assert torch.equal(resumed.state_dict()[name], model.state_dict()[name])


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (
            {"distributed_type": DistributedType.DEEPSPEED},
            "distributed_type (DEEPSPEED) must be DDP or FSDP2; "
            "choose one of them in accelerate config",
        ),
        (
            {"mixed_precision": "bf16"},
            "mixed_precision (bf16) must be no; start accelerate with --mixed_precision no",
        ),
    ],
)
def test_processes_for_something_else_are_refused(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], told: str
) -> None:
    usual = {"distributed_type": DistributedType.NO, "mixed_precision": "no"}
    accelerator = SimpleNamespace(**usual | found)
    monkeypatch.setattr("promotion.training._processes.Accelerator", lambda **_: accelerator)
    with pytest.raises(InputError) as error:
        start_processes()
    assert str(error.value) == told


def test_the_first_version_of_sharding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.delenv("FSDP_VERSION", raising=False)
    with pytest.raises(InputError) as error:
        start_processes()
    assert str(error.value) == "FSDP_VERSION (1) must be 2; set fsdp_version in accelerate config"


@pytest.mark.parametrize(("error", "code"), [(InputError("no"), 2), (RunError("no"), 1)])
def test_other_processes_leave_in_silence(error: Exception, code: int) -> None:
    left: list[bool] = []
    state: Any = SimpleNamespace(
        is_main_process=False, destroy_process_group=lambda: left.append(True)
    )
    with pytest.raises(SystemExit) as exited, told_once(state):
        raise error
    assert (exited.value.code, left) == (code, [True])


def test_that_a_process_is_lost_is_told_by_the_others() -> None:
    state: Any = SimpleNamespace(is_main_process=False, destroy_process_group=lambda: None)
    with pytest.raises(LostProcessError), told_once(state):
        raise LostProcessError("another process has ended")

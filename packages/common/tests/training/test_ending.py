from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tokenseek_common import RunError
from tokenseek_common.cli import Console
from tokenseek_common.training import (
    FiniteTrainer,
    train_to_end,
    trainer_arguments,
    transformers_quiet,
)

pytest.importorskip("transformers", reason="this package does not depend on it")


class Lines(nn.Module):
    """Learns a line and a gate; a third parameter may be left unused."""

    def __init__(self, *, unused: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line = nn.Linear(1, 1)
        self.router = nn.Parameter(torch.ones(1, 1))
        if unused:
            self.unused = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.router * self.line(x) - 2 * x).square().mean()}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with transformers_quiet():
        yield


def trainer(model: nn.Module, folder: Path, steps: int = 6, **settings: Any) -> FiniteTrainer:
    arguments = trainer_arguments(
        folder,
        device=torch.device("cpu"),
        max_steps=steps,
        save_steps=steps,
        learning_rate=0.01,
        weight_decay=0.1,
        per_device_train_batch_size=1,
    )
    rows = [{"x": torch.tensor([float(i + 1)])} for i in range(8)]
    return FiniteTrainer(
        remedy="mend it", model=model, args=arguments, train_dataset=rows, **settings
    )


class Asked(Lines):
    """Sends its process a signal in the third step."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.calls = 0

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls == 3:
            os.kill(os.getpid(), self.number)
        return super().forward(x)


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGTERM, RunError), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_ends_the_training_after_its_step_and_resuming_gives_the_same(
    number: int, kind: type[BaseException], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut, resumed = Lines(), tmp_path / "cut", Lines()
    train_to_end(trainer(whole, tmp_path / "whole"), Console(quiet=True), output=tmp_path)
    with pytest.raises(kind) as stopped:
        train_to_end(trainer(Asked(number), cut), Console(), output=cut)
    assert str(stopped.value) == (
        "training was asked to end at step 3 of 6, and has saved itself; "
        f"go on with the same options, --output {cut} and --resume"
    )
    assert "ending after this step, with a checkpoint" in capsys.readouterr().err
    state = train_to_end(
        trainer(resumed, cut), Console(quiet=True), output=cut, checkpoint=cut / "checkpoint-3"
    )
    assert state.global_step == 6
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_table_of_parameters_is_told_before_and_nothing_that_moves_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_to_end(trainer(Lines(), tmp_path), Console(), output=tmp_path)
    out, err = capsys.readouterr()
    assert out.split("\n")[0].strip() == "Parameters, 100.00% trained"
    assert ["all", "3", "0", "12", "B"] in [line.split() for line in out.splitlines()]
    assert "not trained" not in err


@pytest.mark.parametrize(
    ("steps", "settings", "is_told"),
    [
        (5, {}, True),
        (4, {}, False),
        (5, {"movement_check": False}, False),
        (5, {"at_rest": ["unused"]}, False),
    ],
)
def test_what_has_not_moved_is_told_after_five_steps(
    steps: int,
    settings: dict[str, Any],
    is_told: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours = trainer(Lines(unused=True), tmp_path, steps)
    train_to_end(ours, Console(), output=tmp_path, **settings)
    out, err = capsys.readouterr()
    told = "trainable tensors (1 of 4 not trained in 5 steps) must all have a finite gradient"
    assert (told in err) == is_told
    rows = [line.split() for line in out.splitlines()]
    assert (["unused", "1", "a", "gradient"] in rows) == is_told


def test_the_check_waits_until_the_learning_rate_has_warmed_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = trainer(Lines(unused=True), tmp_path, 8)
    ours.args.warmup_steps = 2
    train_to_end(ours, Console(), output=tmp_path)
    assert "(1 of 4 not trained in 7 steps)" in capsys.readouterr().err


def test_a_pattern_has_a_learning_rate_of_its_own_and_biases_do_not_decay(tmp_path: Path) -> None:
    ours = trainer(Lines(), tmp_path, learning_rates={"router": 0.5})
    ours.create_optimizer()
    assert ours.optimizer is not None
    groups = [(g["lr"], g["weight_decay"], len(g["params"])) for g in ours.optimizer.param_groups]
    assert groups == [(0.01, 0.1, 1), (0.01, 0.0, 1), (0.5, 0.1, 1)]
    train_to_end(ours, Console(quiet=True), output=tmp_path)
    assert [g["lr"] for g in ours.optimizer.param_groups] == [0.0, 0.0, 0.0]  # all decayed

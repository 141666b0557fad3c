"""What each of two processes runs: the memory, then `promotion train`, sharded or not, cut off."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.distributed.tensor import DTensor

import memory_worker
from promotion import ProMotion
from promotion.cli import main
from promotion.training import Trainer

KINDS = ("ddp", "fsdp2")
PROCESSES = 2
TOLD = ("whole", "refused", "cut", "resumed", "infinite")
"""The commands, in this order."""

CONFIG = """
model: {size: nano}
workers: 0
save_every: 3
evaluate_every: 4
held_out: 1
stages:
  - {name: flow, steps: 2, batch_size: 2, sizes: [[32, 40]], tasks: [flow], iterations: 2}
  - {name: both, steps: 2, batch_size: 2, sizes: [[32, 40]], iterations: 2}
"""


@dataclass(frozen=True)
class Told:
    """What a process made of a command."""

    code: str | int | None
    out: str
    err: str


def work(rank: int, folder: Path) -> None:
    """Run all that tests ask of two processes, since starting them takes longer than most of it."""
    torch.set_num_threads(1)
    memory_worker.train(rank, PROCESSES, folder)
    train(rank, folder)
    # torch's caches keep a mesh of FSDP2, and with it gloo's threads, until the interpreter ends,
    # which they at times abort.
    os._exit(0)


def train(rank: int, folder: Path) -> None:
    """Run every command on this process, of both kinds, and write down what it told."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(PROCESSES), "LOCAL_WORLD_SIZE": str(PROCESSES)}
    for kind in KINDS:
        sharded = str(kind == "fsdp2").lower()
        os.environ |= {"ACCELERATE_USE_FSDP": sharded, "FSDP_VERSION": "2"}
        os.environ["OMP_NUM_THREADS"] = "1"  # unset, accelerate warns that it sets it so
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "true"  # accelerate config's default
        os.chdir(folder / kind)
        for name in TOLD:
            told = command(rank, Path(f"{name}.store").absolute(), name)
            Path(f"{name}-{rank}.json").write_text(json.dumps(vars(told)))


def command(rank: int, store: Path, name: str) -> Told:
    """Run one command among the processes."""
    AcceleratorState._reset_state(reset_partial_state=True)
    dist.init_process_group("gloo", init_method=store.as_uri(), rank=rank, world_size=PROCESSES)
    options: dict[str, list[str]] = {
        "whole": ["--json"],
        "refused": ["--output", "promotion-train-001"],
        "cut": ["--output", "cut"],
        "resumed": ["--output", "cut", "--resume"],
        "infinite": ["--output", "infinite"],
    }
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.ExitStack() as patches,
    ):
        if name == "whole":
            patches.enter_context(mock.patch.object(Trainer, "run", watched(rank, Trainer.run)))
        if name == "cut" and rank == 1:
            patches.enter_context(mock.patch.object(Trainer, "_take_step", ended()))
        if name == "infinite" and rank == 1:
            infinite = torch.tensor(torch.inf)
            patches.enter_context(mock.patch("promotion._losses.flow_loss", return_value=infinite))
        code: str | int | None
        try:
            code = main(["train", "--config", "../config.yaml", *options[name]])
        except SystemExit as left:
            code = left.code
    assert not dist.is_initialized()
    return Told(code, out.getvalue(), err.getvalue())


def watched(rank: int, run: Callable[[Trainer], ProMotion]) -> Callable[[Trainer], ProMotion]:
    """Train, and write down the weights that this process ends with."""

    def running(trainer: Trainer) -> ProMotion:
        model = run(trainer)
        weights = {name: whole(value) for name, value in trainer.bare.state_dict().items()}
        torch.save({"weights": weights, "average": model.state_dict()}, f"weights-{rank}.pt")
        return model

    return running


def ended() -> Callable[..., dict[str, float]]:
    """Take steps, of which the second is asked to be the last."""
    taken = Trainer._take_step

    def step(trainer: Trainer, batch: Any) -> dict[str, float]:
        if trainer.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return taken(trainer, batch)

    return step


def whole(value: Tensor) -> Tensor:
    """What the processes hold of a value together."""
    return value.full_tensor() if isinstance(value, DTensor) else value

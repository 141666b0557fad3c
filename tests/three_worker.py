"""What each of two processes runs: a step of each library under DDP, and by hand.

Usage: python three_worker.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel

from three_steps import STEPS, Loss

PROCESSES = 2


def work(rank: int, folder: Path) -> None:
    """Write down the gradients of every step, by name."""
    torch.set_num_threads(1)
    store = (folder / "store").as_uri()
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=PROCESSES)
    found: dict[str, Any] = {}
    for name, step in STEPS.items():
        with step() as (model, loss):
            found[name] = compared(model, loss, rank)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def compared(model: nn.Module, loss: Loss, rank: int) -> dict[str, dict[str, Tensor]]:
    """This process's own gradients, their mean over processes by hand, and those of DDP."""
    wrapped = DistributedDataParallel(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with wrapped.no_sync():
        loss(wrapped, rank).backward()
    own = gradients(model)
    mean = {name: gradient.clone() for name, gradient in own.items()}
    for gradient in mean.values():
        dist.all_reduce(gradient)
        gradient /= PROCESSES

    model.load_state_dict(before)  # prototypes have moved
    model.zero_grad()
    loss(wrapped, rank).backward()
    return {"own": own, "mean": mean, "ddp": gradients(model)}


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Copies of those that there are."""
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


if __name__ == "__main__":
    # Forked, so that all libraries are imported once.
    start_processes(work, (Path(sys.argv[1]),), nprocs=PROCESSES, start_method="fork")

"""The prototype memory, updated by one process or by several."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from promotion.nn import PrototypeMemory

UPDATES = 6


def memory_of() -> PrototypeMemory:
    torch.manual_seed(0)
    memory = PrototypeMemory(4, 3, momentum=0.9, patience=3).double()
    memory.usage[1] = 1e-6  # dead: it is placed anew in the third update
    return memory


def batch_of(update: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(update)
    tokens = torch.randn(12, 3, dtype=torch.float64, generator=generator)
    return F.normalize(tokens, dim=-1), torch.tensor([0, 2, 3]).repeat(4)


def train(rank: int, processes: int, folder: Path) -> None:
    store = (folder / f"store-{processes}").as_uri()
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=processes)
    memory = memory_of()
    for update in range(UPDATES):
        tokens, assigned = batch_of(update)
        memory.update(tokens[rank::processes], assigned[rank::processes])
    torch.save(memory.state_dict(), folder / f"{processes}-{rank}.pt")
    dist.destroy_process_group()

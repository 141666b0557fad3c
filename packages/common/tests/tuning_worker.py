"""What each of two processes runs: the utilities of fine-tuning under DDP and FSDP2.

Usage: python tuning_worker.py RANK STORE OUTPUT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from tokenseek_common.tuning import MovementCheck, count_parameters, load_adapter, save_adapter
from two_processes import leave


class Net(nn.Module):
    """A layer, one that is not used, and a vector of one number, which one process alone holds."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(3, 3)
        self.unused = nn.Linear(3, 3)
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        loss: Tensor = (self.layer(x) * self.gain).square().sum()
        return loss


def sharded(seed: int = 0) -> Net:
    mesh = init_device_mesh("cpu", (2,))
    net = Net(seed)
    fully_shard(net.layer, mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net


def checked(model: nn.Module, bare: nn.Module, rank: int) -> dict[str, str]:
    """What two steps of two batches each have not trained."""
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.01)
    check = MovementCheck(bare, optimizer, steps=2, on_failure=lambda _: None)
    for step in range(4):
        model(torch.ones(1, 3) + rank).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
    assert check.report is not None
    return dict(check.report.still)


def main(rank: int, store: Path, output: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store.as_uri(), rank=rank, world_size=2)
    results: dict[str, Any] = {}
    net = Net()
    ddp = DistributedDataParallel(net, find_unused_parameters=True)
    results["ddp"] = checked(ddp, net, rank)

    net = sharded()
    results["fsdp2"] = checked(net, net, rank)
    results["held"] = net.gain.to_local().numel() if isinstance(net.gain, DTensor) else -1
    count = count_parameters(net)
    results["count"] = [count.trainable, count.stored]

    path, other = output / "adapter.safetensors", sharded(1)
    save_adapter(net, path, "*", base="tiny", method="all")
    dist.barrier()
    load_adapter(other, path)
    state = other.state_dict()
    results["loaded"] = {name: value.full_tensor() for name, value in state.items()}
    results["saved"] = {name: value.full_tensor() for name, value in net.state_dict().items()}
    torch.save(results, output / f"{rank}.pt")
    leave()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))

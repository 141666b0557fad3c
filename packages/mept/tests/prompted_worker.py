"""What each of two processes runs: two steps on its half of a batch, wrapped in every way.

Usage: python prompted_worker.py RANK STORE OUTPUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from mept import fit_routers
from tiny import tiny_batch, tiny_model, tuned
from two_processes import leave

FAMILIES = ("llama", "t5")
WRAPPERS = ("ddp", "fsdp2")


def wrapped(model: PeftModel, wrapper: str) -> nn.Module:
    """The model in its wrapper."""
    if wrapper == "ddp":
        return DistributedDataParallel(model)
    for module in list(model.modules()):
        if type(module).__name__ == "MeptLayer":
            fully_shard(module)
    fully_shard(model)
    return model


def gradients(model: PeftModel) -> dict[str, Tensor]:
    """Those of all trainable tensors, whole."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            gradient = parameter.grad
            assert gradient is not None, name
            found[name] = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
    return found


def main(rank: int, store: Path, output: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store.as_uri(), rank=rank, world_size=2)
    results = {}
    for family in FAMILIES:
        for wrapper in WRAPPERS:
            model = tuned(tiny_model(family), num_experts=8, aux_loss_coef=0.1)
            outer = wrapped(model, wrapper)
            for seed in (1, 2):  # two steps, since a first one may leave its wrapper in a bad state
                outer(**tiny_batch(family, seed=10 * seed + rank)).loss.backward()
            results[f"{family} {wrapper}"] = gradients(model)
        model = DistributedDataParallel(tuned(tiny_model(family)))
        count = fit_routers(
            model, [tiny_batch(family, seed=seed + 5 * rank) for seed in range(4 - rank)]
        )
        results[f"{family} fitted"] = dict(model.module.state_dict())
        assert count == 12 - 3 * rank
    torch.save(results, output / f"{rank}.pt")
    leave()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))

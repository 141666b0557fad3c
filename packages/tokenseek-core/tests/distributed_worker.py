"""What each of two processes runs: TokenSeek steps on its half of a batch, wrapped in every way.

Usage: python distributed_worker.py RANK STORE OUTPUT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from families import tiny_batch, tiny_model, with_lora
from taken import always, kept
from tokenseek_core import apply_tokenseek
from tokenseek_core._apply import unwrap

WRAPPERS = ("ddp", "fsdp2", "fsdp2-lora")
GRADIENTS = ("restart", "inject")


def model_of(wrapper: str) -> nn.Module:
    """The model that is put in a wrapper."""
    model: nn.Module = tiny_model("llama-tied")
    return with_lora(model) if wrapper == "fsdp2-lora" else model


def steps(wrapper: str, gradient_kind: str, rank: int) -> dict[str, Any]:
    """The whole gradients after two steps, and the rows that each of them kept."""
    model = model_of(wrapper)
    handle = apply_tokenseek(model, always(ratio=0.3, gradient=gradient_kind))
    if wrapper.startswith("fsdp2"):
        for layer in unwrap(model).get_submodule("model.layers").children():
            fully_shard(layer)
        fully_shard(model)
    wrapped = DistributedDataParallel(model) if wrapper == "ddp" else model
    keeps = []
    for seed in (1, 2):  # two steps, since a first one may leave its wrapper in a bad state
        batch = tiny_batch("none", seed=10 * seed + rank)
        loss = wrapped(**batch).loss
        loss.backward()
        keeps.append(kept(handle, batch["labels"].shape))
    gradients = {}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if gradient is not None:
            gradients[name] = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
    return {"gradients": gradients, "keeps": keeps}


def main(rank: int, store: Path, output: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store.as_uri(), rank=rank, world_size=2)
    results = {
        f"{wrapper} {kind}": steps(wrapper, kind, rank)
        for wrapper in WRAPPERS
        for kind in GRADIENTS
    }
    torch.save(results, output / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))

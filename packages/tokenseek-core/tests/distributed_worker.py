"""What each of two processes runs: one TokenSeek step on its half of a batch.

Usage: python distributed_worker.py WRAPPER GRADIENT RANK STORE OUTPUT
"""

from __future__ import annotations

import sys
from pathlib import Path

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


def main(wrapper: str, gradient_kind: str, rank: int, store: Path, output: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store.as_uri(), rank=rank, world_size=2)
    model: nn.Module = tiny_model("llama-tied")
    if wrapper == "fsdp2-lora":
        model = with_lora(model)
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
    torch.save({"gradients": gradients, "keeps": keeps}, output / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))

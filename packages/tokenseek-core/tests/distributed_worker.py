"""What each of two processes runs: TokenSeek steps on its half of a batch, wrapped in every way.

Usage: python distributed_worker.py RANK STORE OUTPUT
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from families import tiny_batch, tiny_model, with_lora
from heads import TASKS, headed
from taken import always, kept
from tokenseek_common import InputError, RunError
from tokenseek_common.training import Processes
from tokenseek_core import apply_tokenseek
from tokenseek_core._anatomy import Anatomy
from tokenseek_core._wrappers import unwrap
from two_processes import leave

HEADS = {"bert": "sequence", "bart": "text", "t5": "text"}
"""Models that are no decoders, and what they learn."""

WRAPPERS = (
    *("ddp", "fsdp2", "fsdp2-lora"),
    *("ddp-bert", "ddp-t5", "fsdp2-bert", "fsdp2-bart"),
)
GRADIENTS = ("restart", "inject")


def model_of(wrapper: str) -> nn.Module:
    """The model that is put in a wrapper."""
    family = wrapper.rpartition("-")[2]
    if family in HEADS:
        return headed(family, HEADS[family])
    model: nn.Module = tiny_model("llama-tied")
    return with_lora(model) if wrapper == "fsdp2-lora" else model


def half(wrapper: str, seed: int, rank: int) -> dict[str, Tensor]:
    """What a process learns from in a step."""
    family = wrapper.rpartition("-")[2]
    if family not in HEADS:
        return tiny_batch("none", seed=10 * seed + rank)
    batch = TASKS[HEADS[family]].batch("none")
    return {name: value.roll(2 * seed + rank, dims=-1) for name, value in batch.items()}


def steps(wrapper: str, gradient_kind: str, rank: int) -> dict[str, Any]:
    """The whole gradients after two steps, and the rows that each of them kept."""
    model = model_of(wrapper)
    handle = apply_tokenseek(model, always(ratio=0.3, gradient=gradient_kind))
    if wrapper.startswith("fsdp2"):
        parts = Anatomy.of(unwrap(model), model)
        for layer in [*parts.blocks, *(parts.encoder_blocks or ())]:
            fully_shard(layer)
        fully_shard(model)
    wrapped = DistributedDataParallel(model) if wrapper.startswith("ddp") else model
    keeps = []
    for seed in (1, 2):  # two steps, since a first one may leave its wrapper in a bad state
        wrapped(**half(wrapper, seed, rank)).loss.backward()
        assert handle.last is not None
        keeps.append(kept(handle, handle.last.scores.shape))
    gradients = {}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if gradient is not None:
            gradients[name] = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
    return {"gradients": gradients, "keeps": keeps}


def throw(error: Exception) -> None:
    raise error


def main(rank: int, store: Path, output: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store.as_uri(), rank=rank, world_size=2)
    results: dict[str, Any] = {
        f"{wrapper} {kind}": steps(wrapper, kind, rank)
        for wrapper in WRAPPERS
        for kind in GRADIENTS
    }
    try:
        steps("fsdp2-t5", "restart", rank)
    except InputError as refusal:
        results["refusal"] = str(refusal)
    processes = Processes(2, rank, torch.device("cpu"))
    results["added"] = processes.summed([rank, 1])
    results["folder"] = processes.on_first(lambda: f"made by {rank}")
    for wrong in (InputError("value (3) must be 2; take 2"), OSError("disk full")):
        try:
            processes.on_first(partial(throw, wrong))
        except (InputError, RunError, OSError) as error:
            results[type(wrong).__name__] = f"{type(error).__name__}: {error}"
    torch.save(results, output / f"{rank}.pt")
    leave()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))

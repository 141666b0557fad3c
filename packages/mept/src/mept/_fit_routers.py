"""Router rows that start at what routers read: one pass over data, and k-means.

Shapes: `b` batch, `d` hidden size, `s` samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mept._initial import row_length
from mept._kmeans import spherical_kmeans
from mept._layer import PromptedBlock
from mept._recording import blocks_in_use
from tokenseek_common import InputError


def fit_routers(model: nn.Module, batches: Iterable[Mapping[str, Any]], *, seed: int = 0) -> int:
    """Start the routers of a model from data, so that every expert has inputs of its own.

    One pass without gradients notes what the router of each layer reads, with the prompts that the
    model has now. Its mean is taken off from now on, and the rows of the router become centroids
    of the rest by `spherical_kmeans`. Where inputs have fewer directions than there are experts,
    the other rows stay as they were.

    Call it once, after `get_peft_model` and before training; under FSDP before it is wrapped. The
    model is run in evaluation, and nothing but routers changes. In several processes all take the
    rows and means of the first, fitted to its batches.

    Args:
        model: A model with prompts in use whose routers are cosine routers, under DDP too.
        batches: What the model is called with, as in training: some hundred inputs are enough.
        seed: Of the first centroids.

    Returns:
        How many inputs were read.

    Raises:
        InputError: The model has no prompts in use, its routers are linear, or there is no input.

    Example:
        >>> mept.fit_routers(model, itertools.islice(loader, 32))
        256
    """
    if isinstance(model, DistributedDataParallel):  # it would wait for as many passes elsewhere
        model = model.module
    blocks, _ = blocks_in_use(model)
    if not blocks:
        raise InputError(
            f"model ({type(model).__name__}) must have prompts in use; "
            "give it some by get_peft_model, or switch its adapter on"
        )
    name = next(iter(blocks.values())).active
    assert name is not None
    config = next(iter(blocks.values())).settings[name]
    if config.router != "cosine":
        raise InputError(
            f"router ({config.router}) must be cosine, whose rows lie where inputs do; "
            "choose MeptConfig(router='cosine')"
        )
    read = _pooled(model, list(blocks.values()), batches)
    count = len(read[0]) if read else 0
    if not count:
        raise InputError(
            "batches (0 inputs) must hold what the model is trained on; some hundred inputs are "
            "good"
        )
    for block, pooled in zip(blocks.values(), read, strict=True):
        generator = torch.Generator().manual_seed(seed)
        common = pooled.mean(0)
        centroids = spherical_kmeans(pooled - common, config.num_experts, generator=generator)
        router, mean = block.mept_router[name], block.mept_router_mean[name]
        with torch.no_grad():
            mean.copy_(common)
            router[: len(centroids)] = (row_length(pooled.shape[1]) * centroids).to(router)
        if dist.is_available() and dist.is_initialized():
            dist.broadcast(router.data, src=0)
            dist.broadcast(mean, src=0)
        block.unfitted.discard(name)
    config.router_init = "kmeans"
    return count


@torch.no_grad()
def _pooled(
    model: nn.Module, blocks: list[PromptedBlock], batches: Iterable[Mapping[str, Any]]
) -> list[Float[Tensor, "s d"]]:
    """What the router of each block reads of every input, on the CPU."""
    parts: dict[str, list[Float[Tensor, "b d"]]] = {block.name: [] for block in blocks}

    def note(block: PromptedBlock, args: tuple[Any, ...], output: Any) -> None:
        parts[block.name].append(block.current.call.routings[block.name].pooled.cpu())

    device = next(iter(blocks[0].mept_experts.values())).device
    training = [module for module in model.modules() if module.training]
    model.eval()
    with ExitStack() as stack:
        for block in blocks:
            stack.callback(block.register_forward_hook(note).remove)
        try:
            for batch in batches:
                model(**{key: _placed(value, device) for key, value in batch.items()})
        finally:
            for module in training:
                module.training = True
    return [torch.cat(found) for found in parts.values() if found]


def _placed(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value

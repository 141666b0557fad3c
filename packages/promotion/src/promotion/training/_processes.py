"""The processes that a training runs on: whatever accelerate was started with."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from tokenseek_common import InputError

REFUSED = (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM, DistributedType.XLA)
"""Ways to train that nothing here was written for."""


def start_processes() -> Accelerator:
    """Join the other processes, if there are any.

    One process, several that hold the whole model each (DDP), or several that hold a shard each
    (FSDP2), as accelerate's configuration, `torchrun` or the environment say. Computed is in
    float32.

    Raises:
        InputError: They were started for something else.
    """
    plugin = sharding() if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" else None
    # Processes on CPUs find each other only where accelerate is told that it is to use the CPU.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available(), fsdp_plugin=plugin)
    if accelerator.distributed_type in REFUSED:
        raise InputError(
            f"distributed_type ({accelerator.distributed_type.value}) must be DDP or FSDP2; "
            "choose one of them in accelerate config"
        )
    if accelerator.mixed_precision != "no":
        raise InputError(
            f"mixed_precision ({accelerator.mixed_precision}) must be no; "
            "start accelerate with --mixed_precision no"
        )
    if plugin is not None and accelerator.distributed_type == DistributedType.MULTI_CPU:
        # accelerate shards on accelerators only, though torch does on any device.
        PartialState().distributed_type = DistributedType.FSDP
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin
    return accelerator


def sharding() -> FullyShardedDataParallelPlugin:
    """The environment's way to shard, as far as it suits the model.

    Raises:
        InputError: It is not FSDP2.
    """
    asked = os.environ.get("FSDP_VERSION", "1")  # accelerate's own default
    if asked != "2":
        raise InputError(f"FSDP_VERSION ({asked}) must be 2; set fsdp_version in accelerate config")
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="NO_WRAP",  # the whole model is gathered at once: it is small
        activation_checkpointing=False,  # needs parts that are gathered one by one
    )
    plugin.cpu_ram_efficient_loading = False  # it knows no buffers, which the prototypes are
    return plugin

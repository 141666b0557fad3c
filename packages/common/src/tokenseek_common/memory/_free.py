"""The memory that a device can still give to tensors."""

from typing import Any

import psutil
import torch


def free_bytes(device: torch.device) -> int:
    """Asks a device for its free memory, without waiting for what runs on it.

    Args:
        device: a CPU, or an accelerator. One that does not tell is taken to share the host's
            memory.

    Returns:
        Bytes that nobody uses, and those that torch holds in reserve there.

    Example:
        >>> free_bytes(torch.device("cpu")) > 0
        True
    """
    module: Any = None if device.type == "cpu" else torch.get_device_module(device)
    if not hasattr(module, "mem_get_info"):
        return int(psutil.virtual_memory().available)
    free, _ = module.mem_get_info(device)
    return int(free + module.memory_reserved(device) - module.memory_allocated(device))

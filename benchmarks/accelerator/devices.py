"""The device that cells are measured on, and what it can tell of itself."""

from __future__ import annotations

import functools
import gc
import time

import torch

MIB = 2**20


@functools.cache
def device() -> torch.device:
    """The accelerator, or the CPU where there is none."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return torch.device("cpu") if found is None else torch.device(found.type, 0)


def name_of(device: torch.device) -> str:
    """What its maker calls it."""
    if device.type == "cpu":
        return "CPU"
    return str(getattr(torch.get_device_module(device), "get_device_name", str)(device))


def total_memory(device: torch.device) -> int | None:
    """Its bytes; None for a CPU, whose memory is not its own."""
    if device.type == "cpu":
        return None
    return int(torch.get_device_module(device).get_device_properties(device).total_memory)


def now() -> float:
    """Wall seconds, once the device has done what it was given."""
    if device().type != "cpu":
        torch.accelerator.synchronize(device())
    return time.perf_counter()


def reset_reserved() -> None:
    """Give back what the allocator keeps without using it, and forget its peak."""
    if device().type != "cpu":
        gc.collect()
        memory = torch.get_device_module(device())
        memory.empty_cache()
        memory.reset_peak_memory_stats()


def reserved_peak() -> int | None:
    """Most bytes that the allocator held since then; None where there is no such count."""
    if device().type == "cpu":
        return None
    return int(torch.get_device_module(device()).max_memory_reserved())

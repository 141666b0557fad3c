"""What a step asks of the device: kernels, calls, waits; and whether two counts of memory agree."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from accelerator.devices import MIB, device
from accelerator.exactness import judged
from accelerator.steps import Training, batch_of, decoder, training, way_of
from torch.profiler import ProfilerActivity, profile

from tokenseek_common.memory import ledger, measure

AGREEMENT = 0.05
"""Share by which the allocator's peak and the ledger's may differ."""

LONGEST_KERNELS = 5


def step_counts(*, shape: str, method: str, rows: int, length: int) -> dict[str, Any]:
    """Kernels, calls of torch's operators and waits of the host in one step, full tuning."""
    model = decoder(shape, "full")
    ids = batch_of(model, rows, length)
    with training(model, way_of(method)) as trained:
        trained.step(ids)
        waits = host_waits(trained, ids)
        activities = [ProfilerActivity.CPU]
        if device().type != "cpu":
            activities.append(getattr(ProfilerActivity, device().type.upper()))
        with profile(activities=activities) as found:
            trained.step(ids)
    return {"host_waits": waits} | calls(found)


def host_waits(trained: Training, ids: torch.Tensor) -> dict[str, int] | None:
    """How often the host waits for the device, by place; None where only CUDA could tell."""
    if device().type != "cuda":
        return None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            trained.step(ids)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = (
        f"{Path(warning.filename).name}:{warning.lineno}"
        for warning in told
        if "synchronizing" in str(warning.message)
    )
    return dict(Counter(places))


def calls(found: profile) -> dict[str, Any]:
    """Counts of a profile, and the kernels that took longest."""
    operators, kernels, seconds = 0, 0, Counter[str]()
    for event in found.events() or []:
        if event.device_type.name == "CPU":
            operators += event.name.startswith("aten::")
        elif not (event.is_user_annotation or event.name.startswith(("Memcpy", "Memset"))):
            kernels += 1
            seconds[event.name[:100]] += event.time_range.elapsed_us() / 1e6
    return {
        "operators": operators,
        "kernels": kernels if device().type != "cpu" else None,
        "kernel_seconds": sum(seconds.values()) if device().type != "cpu" else None,
        "longest_kernels": dict(seconds.most_common(LONGEST_KERNELS)),
    }


def memory_counts(*, shape: str, method: str, rows: int, length: int) -> dict[str, Any]:
    """The peak of a step by the ledger and, on an accelerator, by its allocator."""
    model = decoder(shape, "full")
    ids = batch_of(model, rows, length)
    with training(model, way_of(method)) as trained:
        trained.step(ids)
        with ledger(model, trained.optimizer) as books:
            trained.step(ids)
        figures: dict[str, Any] = {"ledger_mib": books.report.peak / MIB}
        if device().type == "cpu":  # whose pages are those of the whole process
            return figures
        with measure(device()) as reading:
            trained.step(ids)
    figures["allocator_mib"] = reading.report.peak / MIB
    differing = abs(figures["allocator_mib"] / figures["ledger_mib"] - 1)
    return judged(figures, largest=differing, tolerance=AGREEMENT)

"""Peak and live bytes of a block of code, on any device."""

import contextlib
from collections.abc import Iterator

import torch

from tokenseek_common.memory._reading import Reading
from tokenseek_common.memory._report import MemoryReport
from tokenseek_common.memory._resident import HighWaterMark, SampledPeak, resident_set


class _Allocator:
    """The counters of an accelerator's caching allocator."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # torch 2.8 has these functions on each backend's own module only
        unified = hasattr(torch.accelerator, "memory_allocated")
        self._memory = torch.accelerator if unified else torch.get_device_module(device)
        self.source = f"allocator of {device}"

    def live(self) -> int:
        return int(self._memory.memory_allocated(self._device))

    def peak(self) -> int:
        return int(self._memory.max_memory_allocated(self._device))

    def reset(self) -> None:
        self._memory.reset_peak_memory_stats(self._device)

    def close(self) -> None:
        """Does nothing: the allocator counts anyway."""


_Counter = HighWaterMark | SampledPeak | _Allocator


class _Span:
    """One open block: its peak survives the resets of the blocks inside it."""

    def __init__(self, counter: _Counter) -> None:
        self._counter = counter
        self._peak = 0

    def peak(self) -> int:
        self._peak = max(self._peak, self._counter.peak())
        return self._peak


_open_spans: list[_Span] = []


@contextlib.contextmanager
def measure(device: torch.device | str | None = None) -> Iterator[Reading]:
    """Measures the peak and the live bytes of a block.

    On an accelerator the numbers are those of its allocator, exact to the allocator's rounding.
    On a CPU they are the resident set of the whole process, and the report's ``source`` says so:
    pages that the process got before and reuses are not seen again, and libraries that load
    during the block count too. For bytes by kind, and for small models on a CPU, see `ledger`.

    Blocks may nest. The allocator's peak statistics are reset at entry.

    Args:
        device: where to count. None is the current accelerator, or the CPU where there is none.

    Yields:
        A handle whose ``report`` is there after the block. ``peak`` is absolute and
        ``live_before`` is what was live at entry, both in bytes; ``added`` is their difference.

    Raises:
        ValueError: If the device is neither the CPU nor of the accelerator's type.

    Example:
        >>> with measure("cpu") as reading:
        ...     squares = torch.arange(1_000_000) ** 2
        >>> reading.report.peak >= reading.report.live_before
        True
    """
    chosen = _resolve(device)
    for outer in _open_spans:
        outer.peak()  # before the reset below takes it away
    counter: _Counter = resident_set() if chosen.type == "cpu" else _Allocator(chosen)
    counter.reset()
    reading, span = Reading(), _Span(counter)
    _open_spans.append(span)
    live_before = counter.live()
    try:
        yield reading
    finally:
        live, peak = counter.live(), span.peak()
        _open_spans.remove(span)
        counter.close()
        reading.finish(
            MemoryReport(
                source=counter.source,
                device=str(chosen),
                # the kernel gathers a thread's pages late, so its mark may lag what we read
                peak=max(peak, live, live_before),
                live=live,
                live_before=live_before,
            )
        )


def _resolve(device: torch.device | str | None) -> torch.device:
    """Returns the device to count on, an accelerator with its index."""
    accelerator = (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    )
    chosen = torch.device(device) if device is not None else accelerator or torch.device("cpu")
    if chosen.type == "cpu":
        return torch.device("cpu")
    if accelerator is None or chosen.type != accelerator.type:
        raise ValueError(
            f"device ({chosen}) must be the CPU or of the accelerator's type "
            f"({accelerator.type if accelerator else 'none is available'}); choose one of them"
        )
    indexed = ":" in str(chosen)
    return (
        chosen if indexed else torch.device(chosen.type, torch.accelerator.current_device_index())
    )

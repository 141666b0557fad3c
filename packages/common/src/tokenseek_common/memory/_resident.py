"""The resident set of this process: its size now, and its high-water mark if the kernel tells."""

import threading
from pathlib import Path

import psutil

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_HIGH_WATER_MARK = "5"
_INTERVAL = 0.002  # seconds; long enough to cost little, short enough to see a layer's activations


class HighWaterMark:
    """The kernel's own peak of the resident set, which no short allocation escapes."""

    source = "resident set, high-water mark of the process"

    def live(self) -> int:
        """Returns the resident set now, in bytes."""
        return _status("VmRSS")

    def peak(self) -> int:
        """Returns the largest resident set since the last reset, in bytes."""
        return _status("VmHWM")

    def reset(self) -> None:
        """Lowers the mark to the resident set of now."""
        _CLEAR_REFS.write_text(_RESET_HIGH_WATER_MARK)

    def close(self) -> None:
        """Does nothing: the kernel keeps the mark."""


class SampledPeak:
    """A thread that reads the resident set again and again, where the kernel's mark can't be reset.

    What is allocated and freed between two samples escapes it.
    """

    source = f"resident set, sampled every {_INTERVAL * 1000:.0f} ms"

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="resident-set", daemon=True)
        self._thread.start()

    def live(self) -> int:
        """Returns the resident set now, in bytes."""
        return int(self._process.memory_info().rss)

    def peak(self) -> int:
        """Returns the largest resident set that was seen since the last reset, in bytes."""
        self._peak = max(self._peak, self.live())
        return self._peak

    def reset(self) -> None:
        """Starts again from the resident set of now."""
        self._peak = self.live()

    def close(self) -> None:
        """Stops the thread."""
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self._peak = max(self._peak, self.live())


def resident_set() -> HighWaterMark | SampledPeak:
    """Chooses the better way that this system allows.

    Returns:
        The kernel's high-water mark where it can be reset, which Linux allows, else samples.
    """
    mark = HighWaterMark()
    try:
        mark.reset()
        mark.peak()
    except (OSError, ValueError):
        return SampledPeak()
    return mark


def _status(field: str) -> int:
    """Reads one size of /proc/self/status, which gives KiB, in bytes."""
    for line in _STATUS.read_text().splitlines():
        name, _, size = line.partition(":")
        if name == field:
            return int(size.split()[0]) * 1024
    raise ValueError(f"field ({field}) must be in {_STATUS}; sample the resident set instead")

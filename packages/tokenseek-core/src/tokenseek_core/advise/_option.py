"""A way to fine-tune, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """A way to fine-tune, and what it takes.

    Args:
        step: Its name.
        exact: Whether its gradient is the dense one.
        peak: Forecast of the bytes that a step over a batch of the longest examples holds.
        memory: That, as a share of the dense step's.
        operations: Those of a pass over the data, as a share of the dense step's.
        fits: Whether the device has that memory; None where none was given.
    """

    step: str
    exact: bool
    peak: int
    memory: float
    operations: float
    fits: bool | None

    def summary(self) -> dict[str, Any]:
        """The figures by name, for JSON."""
        return {
            "step": self.step,
            "exact": self.exact,
            "peak_bytes": self.peak,
            "memory_share": round(self.memory, 4),
            "operations_share": round(self.operations, 4),
            "fits": self.fits,
        }

"""Estimates as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenseek_common.memory import MemoryReport, format_bytes
from tokenseek_core.estimate._settings import EstimateSettings


@dataclass(frozen=True)
class Room:
    """What fits into the memory of a device.

    Args:
        fits: Whether the step does.
        longest: Tokens of the longest sequences in such a batch, to a hundredth; None where not
            even two fit.
        largest: Sequences of the largest batch, likewise; None where not even one fits.
    """

    fits: bool
    longest: int | None
    largest: int | None


@dataclass(frozen=True)
class Row:
    """What a way to fine-tune needs.

    Args:
        step: Its name.
        memory: The ledger of a step.
        room: What fits, where that was asked.
    """

    step: str
    memory: MemoryReport
    room: Room | None = None

    def summary(self, dense: Row) -> dict[str, Any]:
        """The figures by name, in bytes, for JSON.

        Args:
            dense: The row that shares are taken of.
        """
        figures: dict[str, Any] = {
            "step": self.step,
            **{f"{kind}_bytes": size for kind, size in self.memory.kinds.items()},
            "peak_bytes": self.memory.peak,
            "share_of_dense": round(self.memory.share_of(dense.memory), 4),
        }
        if self.room is not None:
            figures |= {
                "fits": self.room.fits,
                "longest_sequence": self.room.longest,
                "largest_batch": self.room.largest,
            }
        return figures


@dataclass(frozen=True)
class Estimate:
    """What steps of a model need.

    Args:
        settings: What was asked for.
        dtype: The precision of weights and adapters.
        rows: Each way to fine-tune; the dense one first.
    """

    settings: EstimateSettings
    dtype: str
    rows: tuple[Row, ...]

    def summary(self) -> dict[str, Any]:
        """Settings and figures by name, for JSON."""
        config = self.settings.chosen
        asked = ("model", "batch_size", "length", "supervised", "lora_rank", "lora_float32")
        used = ("ratio", "answer_ratio", "selector", "gradient", "logits")
        return {
            **{name: getattr(self.settings, name) for name in asked},
            **{name: getattr(config, name) for name in used},
            "dtype": self.dtype,
            "optimizer": "AdamW(fused=True)",
            "device_memory": self.settings.device_memory,
            "steps": [row.summary(self.rows[0]) for row in self.rows],
        }


def memory_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: each term of the sum at the peak, the sum, its share of the first row."""
    headings = ["step", *rows[0].memory.kinds, "peak", "of dense"]
    cells = []
    for row in rows:
        sizes = [*row.memory.kinds.values(), row.memory.peak]
        share = f"{row.memory.share_of(rows[0].memory):.1%}"
        cells.append([row.step, *map(format_bytes, sizes), share])
    return headings, cells


def room_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: whether each step fits, and what would at most."""
    cells = []
    for row in rows:
        if row.room is not None:
            most = (row.room.longest, row.room.largest)
            fits = "yes" if row.room.fits else "no"
            cells.append([row.step, fits, *(str(size or "-") for size in most)])
    return ["step", "fits", "longest sequence", "largest batch"], cells

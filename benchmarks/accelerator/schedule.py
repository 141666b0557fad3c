"""What is measured next: within the time, and by what earlier cells took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accelerator.plan import Cell


class Schedule:
    """Cells that are still to be measured, and how slow this device is in each section.

    Args:
        cells: In their order.
        records: What is there already; also tells how long it took.
    """

    def __init__(self, cells: Sequence[Cell], records: Mapping[str, Mapping[str, Any]]) -> None:
        self._left = [cell for cell in cells if cell.name not in records]
        self._expected: dict[str, float] = {}
        self._took: dict[str, float] = {}
        for cell in cells:
            if cell.name in records and "failed" not in records[cell.name]:
                self.took(cell, records[cell.name]["took_seconds"])

    @property
    def left(self) -> Sequence[Cell]:
        """What is not measured yet, nor passed over."""
        return tuple(self._left)

    def expected(self, cell: Cell) -> float:
        """Seconds that a cell will take, by those of its section."""
        before = self._expected.get(cell.section, 0.0)
        slowness = self._took[cell.section] / before if before else 1.0
        return cell.seconds * slowness

    def took(self, cell: Cell, seconds: float) -> None:
        """Learn from a cell that was measured."""
        self._expected[cell.section] = self._expected.get(cell.section, 0.0) + cell.seconds
        self._took[cell.section] = self._took.get(cell.section, 0.0) + seconds

    def take(self, seconds: float, *, together: bool) -> Cell | None:
        """The first cell that is expected to end within the seconds left, if there is one.

        Args:
            seconds: That are left.
            together: Whether it must be one that others may run beside.
        """
        for cell in self._left:
            if self.expected(cell) <= seconds and (cell.together or not together):
                self._left.remove(cell)
                return cell
        return None

    def put_back(self, cell: Cell) -> None:
        """Leave to a later call what was begun and not ended."""
        self._left.append(cell)

    def pass_over(self, function: str) -> None:
        """Leave out all cells that the same function measures: it would miss the same again."""
        self._left = [cell for cell in self._left if cell.function != function]

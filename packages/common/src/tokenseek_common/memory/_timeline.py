"""What a step held from one change to the next."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenseek_common.memory._kinds import KINDS


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Bytes of each kind after every change, in the order of the changes.

    Args:
        kinds: for each kind as many numbers as there were changes.
        phases: where each phase starts, as the index of its first change and its name:
            ``forward``, ``backward`` or ``optimizer``.

    Example:
        >>> timeline = Timeline({"activations": (8, 16, 0)}, ((0, "forward"), (2, "backward")))
        >>> timeline.totals
        [8, 16, 0]
    """

    kinds: Mapping[str, Sequence[int]]
    phases: Sequence[tuple[int, str]]

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Timeline":
        """Makes a timeline of its fields as JSON has them, in which tuples are lists."""
        kinds = {kind: tuple(sizes) for kind, sizes in fields["kinds"].items()}
        return cls(kinds, tuple((start, phase) for start, phase in fields["phases"]))

    @property
    def totals(self) -> list[int]:
        """Bytes of all kinds together after every change."""
        return [sum(held) for held in zip(*self.kinds.values(), strict=True)]


class TimelineRecorder:
    """Writes a timeline while a ledger runs.

    Args:
        phase: tells what the step does now. What comes between two phases belongs to the first,
            what comes before all of them to ``forward``.
    """

    def __init__(self, phase: Callable[[], str | None]) -> None:
        self._phase = phase
        self._kinds: dict[str, list[int]] = {kind: [] for kind in KINDS}
        self._phases: list[tuple[int, str]] = [(0, "forward")]

    def record(self, held: Mapping[str, int]) -> None:
        """Notes one change.

        Args:
            held: bytes of each kind after it.
        """
        phase = self._phase()
        if phase is not None and self._phases[-1][1] != phase:
            self._phases.append((len(self._kinds[KINDS[0]]), phase))
        for kind, sizes in self._kinds.items():
            sizes.append(held[kind])

    def timeline(self) -> Timeline:
        """Returns what was noted."""
        return Timeline(
            {kind: tuple(sizes) for kind, sizes in self._kinds.items()}, tuple(self._phases)
        )

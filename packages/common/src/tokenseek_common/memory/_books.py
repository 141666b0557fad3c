"""The sums of a ledger: who holds how many bytes of which kind, now and when most are held."""

import collections

from tokenseek_common.memory._kinds import KINDS, LASTING_KINDS, Kind
from tokenseek_common.memory._peak import Held, Peak
from tokenseek_common.memory._timeline import TimelineRecorder


class Books:
    """Sums that follow every change, and the two instants at which they are largest.

    Example:
        >>> books = Books()
        >>> books.change("encoder", "activations", 8)
        >>> books.change("encoder", "activations", -8)
        >>> books.settle()
        >>> books.total, books.peak.size, books.peak.modules()
        (0, 8, {'encoder': {'activations': 8}})
    """

    def __init__(self) -> None:
        # on a defaultdict `+=` calls no Python function: garbage that is collected in between
        # enters `change` again, and its change must not be lost
        self._held: Held = collections.defaultdict(int)
        self._kinds: dict[str, int] = dict.fromkeys(KINDS, 0)  # the same sums, over all modules
        self.total = 0
        self.working = 0
        self.peak = Peak(0, {})
        self.working_peak = Peak(0, {})
        self.recorder: TimelineRecorder | None = None

    def change(self, owner: str, kind: Kind, size: int) -> None:
        """Enters one change.

        Args:
            owner: name of the module.
            kind: kind of the memory.
            size: bytes that came, or that went if negative.
        """
        if size < 0:
            self.settle()  # a sum can only be the largest right before it falls
        self._add(owner, kind, size)
        self._record()

    def move(self, source: tuple[str, Kind], target: tuple[str, Kind], size: int) -> None:
        """Enters that what was held under one owner and kind belongs to others.

        Args:
            source: owner and kind so far.
            target: owner and kind from now on.
            size: bytes.
        """
        self.settle()
        self._add(*source, -size)
        self._add(*target, size)
        self._record()

    def kinds(self) -> dict[str, int]:
        """Gives what is held now of each kind."""
        return self._kinds.copy()

    def open(self) -> None:
        """Starts the block: what is held now is the peak so far, and not more."""
        self._record()
        self.peak = Peak(self.total, self._held.copy())
        self.working_peak = Peak(self.working, self._held.copy())

    def _add(self, owner: str, kind: Kind, size: int) -> None:
        self._held[owner, kind] += size
        self._kinds[kind] += size
        self.total += size
        if kind not in LASTING_KINDS:
            self.working += size

    def _record(self) -> None:
        if self.recorder is not None:
            self.recorder.record(self.kinds())

    def settle(self) -> None:
        """Remembers this instant if it is one of the largest; to be called at the end."""
        # the copy comes before the sum: making it may collect garbage, which changes both
        if self.total >= self.peak.size:
            self.peak.offer(self._held.copy(), self.total)
        if self.working >= self.working_peak.size:
            self.working_peak.offer(self._held.copy(), self.working)

"""The largest value of a sum, and what it was made of at that instant."""

from tokenseek_common.memory._kinds import KINDS, Kind

Held = dict[tuple[str, Kind], int]  # (module, kind) -> bytes


class Peak:
    """Remembers the largest of the sums that it is offered, with the books of that instant.

    Of equal sums it keeps the last, at which a gradient has landed where it belongs.

    Args:
        size: the sum to start from, in bytes.
        held: bytes by module and kind at that instant.

    Example:
        >>> peak = Peak(0, {})
        >>> peak.offer({("encoder", "activations"): 8}, 8)
        >>> peak.offer({("encoder", "activations"): 4}, 4)
        >>> peak.size, peak.modules()
        (8, {'encoder': {'activations': 8}})
    """

    def __init__(self, size: int, held: Held) -> None:
        self.size = size
        self._held = held

    def offer(self, held: Held, size: int) -> None:
        """Keeps a sum if none before was larger.

        Args:
            held: bytes by module and kind, from now on this object's own.
            size: the sum in bytes.
        """
        if size >= self.size:
            self.size, self._held = size, held

    def kinds(self) -> dict[str, int]:
        """Sums the bytes of each kind over the modules; every kind is there."""
        kinds: dict[str, int] = dict.fromkeys(KINDS, 0)
        for (_, kind), size in self._held.items():
            kinds[kind] += size
        return kinds

    def modules(self) -> dict[str, dict[str, int]]:
        """Groups the bytes by module and then by kind, leaving out what holds nothing."""
        modules: dict[str, dict[str, int]] = {}
        for (module, kind), size in self._held.items():
            if size:
                modules.setdefault(module, {})[kind] = size
        return modules

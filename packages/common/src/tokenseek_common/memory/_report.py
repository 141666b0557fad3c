"""What a measurement found, and how two of them compare."""

import dataclasses
import json
from collections.abc import Mapping

from tokenseek_common._table import align, format_bytes, format_share
from tokenseek_common.memory._timeline import Timeline

_FIGURES = ("peak", "added", "live", "working")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryReport:
    """Bytes that a block of code held.

    ``peak`` is absolute: it contains what was there before the block. Subtract ``live_before``,
    or read ``added``, for what the block itself brought.

    Args:
        source: in words, where the numbers come from; compare only what has the same source.
        device: the device that the bytes lie on.
        peak: the largest number of bytes at one instant of the block.
        live: bytes at the end of the block.
        live_before: bytes at the start of the block.
        working: the largest value over the block of everything except parameters, gradients and
            optimizer state; it need not be at the instant of ``peak``. None where it is unknown.
        unseen: how far the true peak lies above ``peak``: what kernels allocate for themselves and
            give back before they return. None where it is unknown.
        kinds: bytes of each kind at the instant of ``peak``; their sum is ``peak``. Empty where
            kinds are unknown.
        working_kinds: bytes of each kind at the instant of ``working``.
        live_kinds: bytes of each kind at the end of the block.
        modules: bytes at the instant of ``peak`` by module, then by kind; their sum is ``peak``.
        timeline: bytes of each kind after every change; None where that was not asked for.

    Example:
        >>> report = MemoryReport(source="ledger", device="cpu", peak=4096, live=1024)
        >>> MemoryReport.from_json(report.to_json()) == report
        True
    """

    source: str
    device: str
    peak: int
    live: int
    live_before: int = 0
    working: int | None = None
    unseen: int | None = None
    kinds: Mapping[str, int] = dataclasses.field(default_factory=dict)
    working_kinds: Mapping[str, int] = dataclasses.field(default_factory=dict)
    live_kinds: Mapping[str, int] = dataclasses.field(default_factory=dict)
    modules: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    timeline: Timeline | None = None

    @property
    def added(self) -> int:
        """The peak above what was live at entry, in bytes."""
        return self.peak - self.live_before

    def share_of(self, other: "MemoryReport", figure: str = "peak") -> float:
        """Compares one figure with that of a baseline.

        Args:
            other: the baseline.
            figure: which number to compare: ``peak``, ``added``, ``live`` or ``working``.

        Returns:
            Ours divided by theirs: 0.25 says that we need a quarter of the baseline.

        Raises:
            ValueError: If there is no such figure, if either report does not know it, or if the
                baseline's is not positive.

        Example:
            >>> ours = MemoryReport(source="ledger", device="cpu", peak=1024, live=0)
            >>> theirs = MemoryReport(source="ledger", device="cpu", peak=4096, live=0)
            >>> ours.share_of(theirs)
            0.25
        """
        if figure not in _FIGURES:
            raise ValueError(f"figure ({figure!r}) must be one of {_FIGURES}; choose one of them")
        mine, base = self._figure(figure), other._figure(figure)
        if mine is None:
            raise ValueError(f"{figure} (None) must be known; measure this side with ledger()")
        if base is None or base <= 0:
            raise ValueError(
                f"{figure} ({base}) of the baseline must be positive; "
                "measure a block that holds memory, with the same profiler"
            )
        return mine / base

    def diff(self, other: "MemoryReport") -> "MemoryDiff":
        """Puts this report beside a baseline.

        Args:
            other: the baseline.

        Returns:
            Both reports, with differences, shares and a table.

        Example:
            >>> ours = MemoryReport(source="ledger", device="cpu", peak=1024, live=0)
            >>> theirs = MemoryReport(source="ledger", device="cpu", peak=4096, live=0)
            >>> ours.diff(theirs).differences["peak"]
            -3072
        """
        return MemoryDiff(ours=self, theirs=other)

    def table(self, *, modules: int = 0) -> str:
        """Writes the report as aligned plain text.

        Args:
            modules: how many modules to list, those that hold most at the peak first.

        Returns:
            The text, without a newline at the end.

        Raises:
            ValueError: If ``modules`` is negative.

        Example:
            >>> print(MemoryReport(source="ledger", device="cpu", peak=4096, live=0).table())
            ledger, cpu
            peak           4.0 KiB
            added          4.0 KiB
            live at entry      0 B
            live at exit       0 B
        """
        if modules < 0:
            raise ValueError(f"modules ({modules}) must not be negative; use 0 to list none")
        figures = [
            ["peak", format_bytes(self.peak)],
            ["added", format_bytes(self.added)],
            ["live at entry", format_bytes(self.live_before)],
            ["live at exit", format_bytes(self.live)],
        ]
        if self.working is not None:
            figures.append(["working", format_bytes(self.working)])
        if self.unseen:
            figures.append(["inside kernels", format_bytes(self.unseen)])
        parts = [f"{self.source}, {self.device}\n{align(figures)}"]
        if self.kinds:
            parts.append(align(self._kind_rows()))
        if modules and self.modules:
            parts.append(align(self._module_rows(modules)))
        return "\n\n".join(parts)

    def to_json(self) -> str:
        """Writes the report as JSON.

        Returns:
            An object with the fields of this class; `from_json` gives the same report back.

        Example:
            >>> MemoryReport(source="ledger", device="cpu", peak=1, live=0).to_json()[:19]
            '{"source": "ledger"'
        """
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "MemoryReport":
        """Reads what `to_json` wrote.

        Args:
            text: the JSON object.

        Returns:
            A report equal to the one written.

        Raises:
            ValueError: If the text is not a JSON object with the fields of a report.

        Example:
            >>> text = '{"source": "ledger", "device": "cpu", "peak": 2, "live": 1}'
            >>> MemoryReport.from_json(text).peak
            2
        """
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError(
                f"text ({type(fields).__name__}) must be a JSON object; pass what to_json() wrote"
            )
        known = {field.name for field in dataclasses.fields(cls)}
        needed = {"source", "device", "peak", "live"}
        if not needed <= fields.keys() <= known:
            raise ValueError(
                f"fields ({sorted(fields)}) must contain {sorted(needed)} and no others than "
                f"{sorted(known)}; pass what to_json() wrote"
            )
        if fields.get("timeline") is not None:
            fields["timeline"] = Timeline.from_fields(fields["timeline"])
        return cls(**fields)

    def _figure(self, figure: str) -> int | None:
        value: int | None = getattr(self, figure)
        return value

    def _kind_rows(self) -> list[list[str]]:
        rows = [["kind", "at the peak", "share", "at the working peak"]]
        for kind in _in_order(self.kinds, self.working_kinds):
            size = self.kinds.get(kind, 0)
            rows.append([kind, format_bytes(size), format_share(_share(size, self.peak))])
            if self.working_kinds:
                rows[-1].append(format_bytes(self.working_kinds.get(kind, 0)))
        return rows if self.working_kinds else [row[:3] for row in rows]

    def _module_rows(self, count: int) -> list[list[str]]:
        sizes = {name: sum(kinds.values()) for name, kinds in self.modules.items()}
        largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:count]
        rows = [["module", "at the peak", "share"]]
        for name in largest:
            share = format_share(_share(sizes[name], self.peak))
            rows.append([name or "(root)", format_bytes(sizes[name]), share])
        return rows


@dataclasses.dataclass(frozen=True)
class MemoryDiff:
    """Two reports side by side, ours against a baseline.

    Args:
        ours: the report in question.
        theirs: the baseline.

    Example:
        >>> ours = MemoryReport(source="ledger", device="cpu", peak=1024, live=0)
        >>> theirs = MemoryReport(source="ledger", device="cpu", peak=4096, live=0)
        >>> print(MemoryDiff(ours, theirs).table())
        ours: ledger, cpu
        theirs: ledger, cpu
        <BLANKLINE>
                  ours   theirs  difference  ours / theirs
        peak   1.0 KiB  4.0 KiB    -3.0 KiB          25.0%
        added  1.0 KiB  4.0 KiB    -3.0 KiB          25.0%
        live       0 B      0 B         0 B              -
    """

    ours: MemoryReport
    theirs: MemoryReport

    @property
    def differences(self) -> dict[str, int]:
        """Ours minus theirs in bytes, by figure and then by kind at the peak."""
        return {name: ours - theirs for name, (ours, theirs) in self._pairs().items()}

    @property
    def shares(self) -> dict[str, float | None]:
        """Ours divided by theirs, None where theirs is not positive."""
        return {name: _share(ours, theirs) for name, (ours, theirs) in self._pairs().items()}

    def table(self) -> str:
        """Writes the comparison as aligned plain text.

        Returns:
            One line for each figure and each kind at the peak; a figure that one of the two
            reports does not know is left out.
        """
        rows = [["", "ours", "theirs", "difference", "ours / theirs"]]
        for name, (ours, theirs) in self._pairs().items():
            sizes = [format_bytes(size) for size in (ours, theirs, ours - theirs)]
            rows.append([name, *sizes, format_share(_share(ours, theirs))])
        heading = [
            f"{side}: {getattr(self, side).source}, {getattr(self, side).device}"
            for side in ("ours", "theirs")
        ]
        return "\n".join([*heading, "", align(rows)])

    def _pairs(self) -> dict[str, tuple[int, int]]:
        pairs = {}
        for figure in _FIGURES:
            ours, theirs = self.ours._figure(figure), self.theirs._figure(figure)
            if ours is not None and theirs is not None:
                pairs[figure] = (ours, theirs)
        # kinds of one side alone would all read as savings
        if self.ours.kinds and self.theirs.kinds:
            for kind in _in_order(self.ours.kinds, self.theirs.kinds):
                pairs[kind] = (self.ours.kinds.get(kind, 0), self.theirs.kinds.get(kind, 0))
        return pairs


def _in_order(*kinds: Mapping[str, int]) -> list[str]:
    """Returns the names of all the kinds, each once, in the order of their first appearance."""
    return list(dict.fromkeys(name for mapping in kinds for name in mapping))


def _share(part: int, whole: int) -> float | None:
    """Returns the part divided by the whole, None where the whole is not positive."""
    return part / whole if whole > 0 else None

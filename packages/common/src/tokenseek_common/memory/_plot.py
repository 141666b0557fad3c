"""A picture of one step: who holds the memory, from its first change to its last."""

from pathlib import Path
from typing import BinaryIO

from tokenseek_common._errors import InputError
from tokenseek_common._table import format_bytes
from tokenseek_common.memory._report import MemoryReport

_SIZE = (9.0, 4.5)  # inches
_MIB = 2**20


def plot_timeline(
    report: MemoryReport, path: Path | str | BinaryIO, *, top: int | None = None
) -> None:
    """Draws the memory of each kind over the changes of a step, stacked, with the peak marked.

    Args:
        report: of `ledger` with ``timeline=True``.
        path: the PNG to write, a path or a binary file; an existing one is replaced.
        top: bytes at the upper end of the axis, so that several pictures have one scale; None
            fits it to the peak.

    Raises:
        InputError: If the report has no timeline, or matplotlib is absent.

    Example:
        >>> plot_timeline(reading.report, "step.png")  # doctest: +SKIP
    """
    timeline = report.timeline
    if timeline is None:
        raise InputError(
            f"report ({report.source}) must have a timeline; "
            "keep the books of a step with ledger(..., timeline=True)"
        )
    try:
        from matplotlib.figure import Figure  # without pyplot, which would choose a screen
    except ImportError as error:
        raise InputError(
            "timeline (PNG) must be drawn by matplotlib, which is absent; "
            'pip install "tokenseek-common[plot]"'
        ) from error
    shown = {kind: sizes for kind, sizes in timeline.kinds.items() if any(sizes)}
    totals = timeline.totals
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.stackplot(
        range(len(totals)),
        [[size / _MIB for size in sizes] for sizes in shown.values()],
        labels=list(shown),
        step="post",
    )
    highest = max(totals)
    for start, phase in timeline.phases:
        axes.axvline(start, color="black", linewidth=0.5)
        axes.text(start, 1.0, f" {phase}", transform=axes.get_xaxis_transform(), va="bottom")
    axes.axhline(highest / _MIB, color="black", linewidth=0.8, linestyle="--")
    axes.set_title(f"peak {format_bytes(highest)}, {report.source}, {report.device}", pad=20)
    axes.set_xlabel("allocations and releases, in their order")
    axes.set_ylabel("MiB")
    axes.margins(x=0)
    if top is not None:
        axes.set_ylim(0, 1.05 * top / _MIB)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, format="png", dpi=150)

"""One look for all figures: panels side by side, and colours that the colour-blind tell apart."""

from __future__ import annotations

import importlib.util
import io
import math
from typing import NamedTuple

from mept.inspect._matplotlib import Axes, Figure
from mept.inspect._report import RoutingReport
from tokenseek_common import InputError

HEAT = "cividis"
"""The colours of heat maps: from dark to light, alike for all eyes."""


class Style(NamedTuple):
    """How a group looks."""

    label: str
    colour: str
    marker: str


# The colours of Okabe and Ito, the palest last.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_OTHERS = Style("others", "#BBBBBB", ".")
_LONGEST = 24  # characters of a name
_NARROWEST = 6.0  # inches, for the title


def require_matplotlib() -> None:
    """Refuse to draw without matplotlib.

    Raises:
        InputError: It is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            'pictures (png) must be drawn by matplotlib, which is absent; pip install "mept[plot]"'
        )


def shown_groups(report: RoutingReport) -> dict[int, Style]:
    """The groups that have a look of their own, by their place: the largest eight, in order."""
    sizes = list(report.sizes.values())
    largest = sorted(range(len(sizes)), key=lambda place: -sizes[place])[: len(_COLOURS)]
    looks = zip(sorted(largest), _COLOURS, _MARKERS, strict=False)
    names = [_label(name) for name in report.sizes]
    return {place: Style(names[place], colour, marker) for place, colour, marker in looks}


def all_groups(report: RoutingReport) -> dict[int, Style]:
    """All groups by their place: those, and behind them the smaller ones, which share a look."""
    shown = shown_groups(report)
    return shown | {place: _OTHERS for place in range(len(report.sizes)) if place not in shown}


def panels(
    count: int, *, columns: int, width: float, height: float, margin: float = 0.8
) -> tuple[Figure, list[Axes]]:
    """A figure with panels in rows, of which the last may be shorter.

    Args:
        count: How many panels.
        columns: Most of a row.
        width: Of a panel, in inches.
        height: Of a panel, in inches.
        margin: What the figure is larger by, either way, in inches.
    """
    require_matplotlib()
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    # By itself, not by pyplot, which would keep it and choose a window system.
    across = max(columns * width + margin, _NARROWEST)
    figure = Figure(figsize=(across, rows * height + margin), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130)
    return file.getvalue()


def _label(name: str) -> str:
    """A name that is short, and no formula."""
    short = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
    return short.replace("$", r"\$")

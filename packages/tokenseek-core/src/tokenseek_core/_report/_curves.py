"""Line charts as inline SVG: axes with units, a marker at every measured point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 46  # room around the plot for ticks and axis labels
MARKER = 3.5


@dataclass(frozen=True)
class Curve:
    """One line.

    Args:
        label: What it stands for.
        points: (x, y) of each measurement, in order.
        colour: Which of the page's colours it has, from 0 on.
        dashed: Draw it so that a line beneath it still shows.
    """

    label: str
    points: Sequence[tuple[float, float]]
    colour: int
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """One axis: the ticks span all values.

    Args:
        ticks: Values that are written beside it, ascending and evenly spaced.
        start: Where the first tick lies on the canvas.
        end: Where the last one does.
    """

    ticks: tuple[float, ...]
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where a value lies on the canvas."""
        first, last = self.ticks[0], self.ticks[-1]
        return self.start + (value - first) / (last - first) * (self.end - self.start)

    def written(self, tick: float) -> str:
        """A tick with as many decimals as tell it from its neighbour."""
        decimals = max(0, -math.floor(math.log10(self.ticks[1] - self.ticks[0]) + 1e-9))
        return f"{tick:.{decimals}f}"


def curves(title: str, x_label: str, y_label: str, shown: Sequence[Curve]) -> str:
    """Draw lines into one chart.

    Args:
        title: What the chart shows, above it and for those who cannot see it.
        x_label: Of the horizontal axis, with its unit.
        y_label: Of the vertical axis, with its unit.
        shown: The lines; later ones lie above earlier ones.

    Returns:
        A figure with its caption.
    """
    xs = [x for curve in shown for x, _ in curve.points]
    ys = [y for curve in shown for _, y in curve.points]
    across = Axis(ticks(min(xs), max(xs)), LEFT, WIDTH - RIGHT)
    up = Axis(ticks(min(ys), max(ys)), HEIGHT - BOTTOM, TOP)
    middle_x, middle_y = (across.start + across.end) / 2, (up.start + up.end) / 2
    return (
        f"<figure>\n<figcaption>{escape(title)}</figcaption>\n"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">\n'
        + "".join(_grid_line(across, up, tick) for tick in up.ticks)
        + "".join(_x_tick(across, up, tick) for tick in across.ticks)
        + f'<text class="axis" x="{middle_x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(x_label)}</text>\n"
        f'<text class="axis" x="14" y="{middle_y:.1f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {middle_y:.1f})">{escape(y_label)}</text>\n'
        + "".join(_line(across, up, curve) for curve in shown)
        + "</svg>\n</figure>\n"
    )


def legend(shown: Sequence[Curve]) -> str:
    """Which line is which, for one or several charts."""
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 28 10" aria-hidden="true">'
        f'<path class="line s{curve.colour}{_dashed(curve)}" d="M0 5H28"/></svg>'
        f"{escape(curve.label)}</li>"
        for curve in shown
    )
    return f'<ul class="legend">{items}</ul>\n'


def ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """About `count` round values that span from `low` to `high`.

    Example:
        >>> ticks(0.3, 4.2)
        (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    """
    span = high - low or abs(high)
    if span < 1e-9:  # nothing that a chart could show, and logarithms of it may not exist
        span = 1.0
    power = 10 ** math.floor(math.log10(span / count))
    step = next(power * digit for digit in (1, 2, 5, 10) if span / (power * digit) <= count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(position * step for position in range(first, max(last, first + 1) + 1))


def _grid_line(across: Axis, up: Axis, tick: float) -> str:
    y = up.place(tick)
    return (
        f'<path class="grid" d="M{across.start} {y:.1f}H{across.end}"/>'
        f'<text class="tick" x="{across.start - 8}" y="{y + 4:.1f}" text-anchor="end">'
        f"{up.written(tick)}</text>\n"
    )


def _x_tick(across: Axis, up: Axis, tick: float) -> str:
    x = across.place(tick)
    return (
        f'<path class="grid" d="M{x:.1f} {up.start}v5"/>'
        f'<text class="tick" x="{x:.1f}" y="{up.start + 19}" text-anchor="middle">'
        f"{across.written(tick)}</text>\n"
    )


def _line(across: Axis, up: Axis, curve: Curve) -> str:
    places = [(across.place(x), up.place(y)) for x, y in curve.points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    markers = "".join(
        f'<circle class="dot c{curve.colour}" cx="{x:.1f}" cy="{y:.1f}" r="{MARKER}">'
        f"<title>{escape(curve.label)}: {value:.3f}</title></circle>"
        for (x, y), (_, value) in zip(places, curve.points, strict=True)
    )
    return f'<path class="line s{curve.colour}{_dashed(curve)}" d="{path}"/>{markers}\n'


def _dashed(curve: Curve) -> str:
    return " dashed" if curve.dashed else ""

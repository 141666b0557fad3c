"""Bars beside their values, as a table that can be read without seeing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Bar:
    """One bar.

    Args:
        label: What it stands for.
        value: Its length.
        shown: The value as text, with its unit.
        colour: Which of the page's colours it has, from 0 on.
    """

    label: str
    value: float
    shown: str
    colour: int


@dataclass(frozen=True)
class Part:
    """A part of a stacked bar, in the order of the legend.

    Args:
        value: Its length.
        shown: The value as text, with its unit.
    """

    value: float
    shown: str


def bars(caption: str, shown: Sequence[Bar], *, full: float | None = None) -> str:
    """Bars one below the other.

    Args:
        caption: What they show.
        shown: The bars.
        full: Length that fills the width; None is that of the longest.

    Returns:
        A table with a row for each.
    """
    longest = full or max((bar.value for bar in shown), default=0) or 1
    rows = [
        _row(bar.label, _fill(bar.value / longest, f"c{bar.colour}"), bar.shown) for bar in shown
    ]
    return _table(caption, rows)


def stacked_bars(
    caption: str,
    kinds: Sequence[str],
    shown: Sequence[tuple[str, Sequence[Part], str]],
) -> str:
    """Bars that are made of parts; the longest fills the width.

    Args:
        caption: What they show.
        kinds: The parts' names, for the legend.
        shown: Label, parts (as many as kinds) and total as text of each bar.

    Returns:
        A table with a row for each, and a legend.
    """
    longest = max((sum(part.value for part in parts) for _, parts, _ in shown), default=0) or 1
    legend = "".join(
        f'<li><span class="swatch k{position}"></span>{escape(kind)}</li>'
        for position, kind in enumerate(kinds)
    )
    rows = []
    for label, parts, total in shown:
        fills = "".join(
            _fill(part.value / longest, f"k{position}", title=f"{kind}: {part.shown}")
            for position, (kind, part) in enumerate(zip(kinds, parts, strict=True))
            if part.value > 0
        )
        rows.append(_row(label, fills, total))
    return _table(caption, rows) + f'<ul class="legend">{legend}</ul>\n'


def _table(caption: str, rows: Sequence[str]) -> str:
    return (
        f'<table class="bars">\n<caption>{escape(caption)}</caption>\n'
        f"<tbody>\n{''.join(rows)}</tbody>\n</table>\n"
    )


def _row(label: str, fills: str, shown: str) -> str:
    return (
        f'<tr><th scope="row">{escape(label)}</th>'
        f'<td class="track"><div>{fills}</div></td><td class="value">{escape(shown)}</td></tr>\n'
    )


def _fill(share: float, colour: str, title: str = "") -> str:
    attribute = f' title="{escape(title)}"' if title else ""
    return f'<span class="fill {colour}" style="width:{100 * share:.2f}%"{attribute}></span>'

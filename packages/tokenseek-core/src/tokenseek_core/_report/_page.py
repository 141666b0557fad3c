"""The page itself, and its parts that are text."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from tokenseek_core._report._style import STYLE


@dataclass(frozen=True)
class Tile:
    """One figure that is to be seen first.

    Args:
        figure: The figure, with its unit.
        label: What it is, in a few words.
        note: Beneath it, smaller.
    """

    figure: str
    label: str
    note: str


def page(title: str, subtitle: str, *parts: str) -> str:
    """A whole document that needs nothing but itself."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<h1>{escape(title)}</h1>
<p>{escape(subtitle)}</p>
</header>
{"".join(parts)}
</main>
</body>
</html>
"""


def section(heading: str, *parts: str) -> str:
    """A part of the page under a heading."""
    return f"<section>\n<h2>{escape(heading)}</h2>\n{''.join(parts)}</section>\n"


def paragraph(text: str, *, small: bool = False) -> str:
    """A paragraph of plain text."""
    attribute = ' class="note"' if small else ""
    return f"<p{attribute}>{escape(text)}</p>\n"


def picture(png: bytes, told: str) -> str:
    """A picture, inside the page; `told` says what it shows to whoever does not see it."""
    inside = base64.b64encode(png).decode("ascii")
    return f'<img alt="{escape(told)}" src="data:image/png;base64,{inside}">\n'


def side_by_side(*figures: str) -> str:
    """Figures beside each other where there is room, else below each other."""
    return f'<div class="charts">\n{"".join(figures)}</div>\n'


def together(*parts: str) -> str:
    """Parts below each other that take the place of one figure."""
    return f"<div>\n{''.join(parts)}</div>\n"


def tiles(shown: Iterable[Tile]) -> str:
    """Figures side by side."""
    items = "".join(
        f'<li><span class="label">{escape(tile.label)}</span>'
        f"<strong>{escape(tile.figure)}</strong>"
        f'<span class="remark">{escape(tile.note)}</span></li>\n'
        for tile in shown
    )
    return f'<ul class="tiles">\n{items}</ul>\n'


def facts_table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column names what its row is about."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    return (
        f'<div class="wide"><table class="facts">\n<caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def definitions(entries: Iterable[tuple[str, str]]) -> str:
    """Terms, and what is to be said of each."""
    items = "".join(
        f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>\n" for term, meaning in entries
    )
    return f"<dl>\n{items}</dl>\n"

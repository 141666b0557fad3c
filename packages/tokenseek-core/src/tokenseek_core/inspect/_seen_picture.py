"""`tokens.png`: the same as the page shows, as a picture."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tokenseek_common import InputError
from tokenseek_core._kept_shares import Kept
from tokenseek_core.inspect._look import Sight
from tokenseek_core.inspect._seen import SeenToken
from tokenseek_core.inspect._seen_curves import Chart, over_steps
from tokenseek_core.inspect._seen_page import part_name, strengths

COLUMNS = 96  # letters of a line
MOST_DRAWN = 3  # instances whose text is drawn
KEPT, DITCHED = "#0f9484", "#c2cad4"
COLOURS = ("#3b6fd4", "#e08a1e", "#0f9484", "#8a5cd0", "#c4527f")

_WIDTH = 11.0  # inches
_LINE = 0.2  # inches of a line of text
_TERM, _CHART = 1.6, 3.0  # inches that the others are high
_FONT = "DejaVu Sans Mono"  # which matplotlib brings along
_ABSENT = "\N{WHITE SQUARE}"  # stands for a letter that the font lacks


def require_matplotlib() -> None:
    """Refuse to draw without matplotlib.

    Raises:
        InputError: It is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "picture (tokens.png) must be drawn by matplotlib, which is absent; "
            'pip install "tokenseek-core[plot]", or leave the picture out with --no-picture'
        )


def seen_picture(sight: Sight) -> bytes:
    """Draw the tokens, their two terms, the shares and, of a training, its steps.

    Returns:
        A PNG file.

    Raises:
        InputError: matplotlib is absent.
    """
    require_matplotlib()
    from matplotlib.figure import Figure  # without pyplot, which would choose a screen

    drawn = sight.seen.instances[:MOST_DRAWN]
    texts = [laid_out(tokens) for tokens in drawn]
    charts = over_steps(sight.steps) if sight.steps else []
    heights = [h for _, lines in texts for h in (_LINE * (lines + 1) + 0.4, _TERM, _TERM)]
    heights += [_CHART] * (1 + (len(charts) + 1) // 2)
    figure = Figure(figsize=(_WIDTH, sum(heights) + 0.6), layout="constrained")
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    for number, (tokens, (cells, lines)) in enumerate(zip(drawn, texts, strict=True)):
        rows = [figure.add_subplot(grid[3 * number + offset, :]) for offset in range(3)]
        _draw_text(rows[0], tokens, cells, lines, f"instance {number + 1}")
        _draw_term(rows[1], tokens, "context")
        _draw_term(rows[2], tokens, "gradient")
    below, shares = 3 * len(drawn), sight.seen.shares
    _draw_shares(figure.add_subplot(grid[below, 0]), "class of token", shares.by_class)
    positions = {part_name(place): kept for place, kept in enumerate(shares.by_position)}
    _draw_shares(figure.add_subplot(grid[below, 1]), "position in the instance", positions)
    for place, chart in enumerate(charts):
        _draw_chart(figure.add_subplot(grid[below + 1 + place // 2, place % 2]), chart)
    settings, config = sight.settings, sight.config
    # A name may hold what would be read as a formula.
    figure.suptitle(
        f"What TokenSeek keeps of {settings.data or settings.text}: {settings.model}, "
        f"selector {config.selector}, ratio {config.ratio:g}",
        parse_math=False,
    )
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


class Cell(NamedTuple):
    """Letters of one token that stand on one line."""

    token: int
    line: int
    column: int
    text: str


def laid_out(tokens: Sequence[SeenToken]) -> tuple[list[Cell], int]:
    """Place tokens on lines, and count these.

    A line break is shown and broken; what a line has no room for begins the next.
    """
    cells, line, column = [], 0, 0
    for number, token in enumerate(tokens):
        broken = (token.text or "\N{MIDDLE DOT}").replace("\t", " ").split("\n")
        for place, part in enumerate(broken):
            ends = place < len(broken) - 1
            text = (part + "\N{RETURN SYMBOL}" if ends else part)[:COLUMNS]
            if column + len(text) > COLUMNS:
                line, column = line + 1, 0
            if text:
                cells.append(Cell(number, line, column, text))
            line, column = (line + 1, 0) if ends else (line, column + len(text))
    return cells, line + 1


def _draw_text(
    axes: Any,
    tokens: Sequence[SeenToken],
    cells: Sequence[Cell],
    lines: int,
    title: str,
) -> None:
    """The text, a cell a letter: coloured by score, underlined where it is kept."""
    from matplotlib.patches import Rectangle

    known = _known_letters()
    shades = strengths([token.score for token in tokens])
    for number, line, column, text in cells:
        width, alpha = len(text), 0.75 * shades[number]
        cell = Rectangle((column, line), width, 0.92, color=COLOURS[1], alpha=alpha, lw=0)
        axes.add_patch(cell)
        if tokens[number].kept:
            axes.add_patch(Rectangle((column, line + 0.84), width, 0.12, color=KEPT, lw=0))
        for offset, letter in enumerate(text):
            if not letter.isspace():
                axes.text(
                    column + offset + 0.5,
                    line + 0.44,
                    letter if ord(letter) in known else _ABSENT,
                    ha="center",
                    va="center",
                    family=_FONT,
                    fontsize=9,
                    parse_math=False,
                )
    axes.set(xlim=(0, COLUMNS), ylim=(lines, 0))
    axes.set_title(f"{title}: coloured by score, underlined where kept", loc="left", fontsize=10)
    axes.axis("off")


def _draw_term(axes: Any, tokens: Sequence[SeenToken], name: str) -> None:
    """One of the two terms over the tokens, those that are kept in another colour."""
    values = [getattr(token, name) or 0.0 for token in tokens]
    colours = [KEPT if token.kept else DITCHED for token in tokens]
    axes.bar(range(len(tokens)), values, width=1.0, color=colours)
    axes.set(xlim=(-0.5, len(tokens) - 0.5), ylabel=f"{name} term")
    axes.set_xlabel("token; kept ones are green", fontsize=8)


def _draw_shares(axes: Any, title: str, counts: Mapping[Any, Kept]) -> None:
    """The kept share of each part that has a token."""
    shown = {name: kept.share for name, kept in counts.items() if kept.share is not None}
    axes.barh(list(shown), list(shown.values()), color=KEPT)
    axes.invert_yaxis()
    axes.set(title=f"kept share by {title}", xlim=(0, 1))


def _draw_chart(axes: Any, chart: Chart) -> None:
    """Lines over the steps of a training."""
    for curve in chart.curves:
        xs, ys = zip(*curve.points, strict=True)
        axes.plot(xs, ys, marker=".", color=COLOURS[curve.colour], label=curve.label)
    axes.set(title=chart.title, xlabel="step", ylabel=chart.unit)
    axes.legend(fontsize="small")


def _known_letters() -> set[int]:
    """The letters that the font has."""
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return set(FT2Font(findfont(_FONT)).get_charmap())

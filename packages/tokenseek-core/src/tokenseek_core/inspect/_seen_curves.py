"""What a training kept over its steps, as lines of charts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from tokenseek_core._kept_shares import PARTS, total
from tokenseek_core._recorded_step import RecordedStep
from tokenseek_core._report import Curve
from tokenseek_core._token_classes import TOKEN_CLASSES, TokenClass

MOST_POINTS = 100
"""Points of a line; of longer logs, steps at even distances."""


class Chart(NamedTuple):
    """Lines that share their axes."""

    title: str
    unit: str
    curves: list[Curve]


def over_steps(steps: Sequence[RecordedStep]) -> list[Chart]:
    """Kept share by class and by position, supervised share, and scores, over the steps."""
    shown = thinned(steps)
    classes = [
        _curve(name, place, shown, partial(_of_class, name))
        for place, name in enumerate(TOKEN_CLASSES)
    ]
    fifths = [
        _curve(f"{20 * place} to {20 * (place + 1)} %", place, shown, partial(_of_fifth, place))
        for place in range(5)
    ]
    shares = [
        _curve("kept, of all tokens", 0, shown, lambda step: step.shares.all.share),
        _curve("supervised, of the kept ones", 1, shown, lambda step: step.supervised_share),
    ]
    scores = [
        _curve("highest", 0, shown, lambda step: step.score.max),
        _curve("mean", 1, shown, lambda step: step.score.mean),
        _curve("standard deviation", 2, shown, lambda step: step.score.std),
    ]
    charts = [
        Chart("Kept share by class of token", "share", classes),
        Chart("Kept share by position in the instance", "share", fifths),
        Chart("Shares", "share", shares),
        Chart("Scores", "score", scores),
    ]
    return [
        Chart(title, unit, [curve for curve in curves if curve.points])
        for title, unit, curves in charts
    ]


def thinned(steps: Sequence[RecordedStep]) -> list[RecordedStep]:
    """At most so many of the steps, the first and the last among them."""
    if len(steps) <= MOST_POINTS:
        return list(steps)
    last = len(steps) - 1
    return [steps[place * last // (MOST_POINTS - 1)] for place in range(MOST_POINTS)]


def _curve(
    label: str,
    colour: int,
    steps: Sequence[RecordedStep],
    value: Callable[[RecordedStep], float | None],
) -> Curve:
    """A line through the steps that have the value."""
    points = [(step.step, found) for step in steps if (found := value(step)) is not None]
    return Curve(label, points, colour)


def _of_class(name: TokenClass, step: RecordedStep) -> float | None:
    return step.shares.by_class[name].share


def _of_fifth(place: int, step: RecordedStep) -> float | None:
    width = PARTS // 5
    return total(step.shares.by_position[width * place : width * (place + 1)]).share

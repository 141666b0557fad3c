"""`page.html`: what is kept, token by token, for people."""

from __future__ import annotations

from collections.abc import Sequence

from tokenseek_core import _report as report
from tokenseek_core._kept_shares import PARTS, Kept
from tokenseek_core._recorded_step import RecordedStep
from tokenseek_core.inspect._look import Sight
from tokenseek_core.inspect._seen import SeenToken
from tokenseek_core.inspect._seen_curves import over_steps

VALUES = ("score", "context term", "gradient term")


def seen_page(sight: Sight) -> str:
    """One HTML page that needs nothing but itself."""
    settings, shares = sight.settings, sight.seen.shares
    return report.page(
        f"What TokenSeek keeps of {settings.data or settings.text}",
        f"{settings.model}, selector {sight.config.selector}, ratio {sight.config.ratio:g}",
        report.tiles(
            [
                report.Tile(
                    _percent(shares.all),
                    "kept",
                    f"{shares.all.kept} of {shares.all.tokens} tokens of "
                    f"{len(sight.seen.instances)} instances",
                ),
                report.Tile(
                    f"{sight.seen.supervised_share:.0%}",
                    "of the kept tokens are supervised",
                    "they carry the loss, since the next token has a label",
                ),
            ]
        ),
        _texts(sight),
        report.section(
            "Where the kept tokens are",
            report.bars(
                "Kept share by class of token",
                [_bar(name, kept) for name, kept in shares.by_class.items() if kept.tokens],
                full=1.0,
            ),
            report.bars(
                "Kept share by position in the instance",
                [_bar(part_name(place), kept) for place, kept in enumerate(shares.by_position)],
                full=1.0,
            ),
        ),
        _training(sight.steps) if sight.steps else "",
    )


def part_name(place: int) -> str:
    """A part of an instance by its ends, such as 0 to 10 %."""
    width = 100 // PARTS
    return f"{width * place} to {width * (place + 1)} %"


def strengths(values: Sequence[float | None]) -> list[float]:
    """Values from 0 for low ones to 1 for high ones; what is unknown is 0.

    The lowest twentieth is 0 and the highest 1: the first token of a text, which the others attend
    to most, would leave no room for differences among these.
    """
    known = sorted(value for value in values if value is not None)
    if not known:
        return [0.0] * len(values)
    edge = len(known) // 20
    low, high = known[edge], known[-1 - edge]
    width = (high - low) or 1.0
    return [0.0 if value is None else min(1.0, max(0.0, (value - low) / width)) for value in values]


def _texts(sight: Sight) -> str:
    """The instances, coloured."""
    parts = [
        report.heat_text(f"instance {number}", _heats(tokens))
        for number, tokens in enumerate(sight.seen.instances, 1)
    ]
    return report.section(
        "The tokens",
        report.heat_choice(VALUES),
        *parts,
        report.readout("Point at a token to see its numbers."),
        report.paragraph(
            "The score is what the selector chose by; only its order means something. Beside it "
            "stand the two terms of the published score: the context term, alpha times the "
            "logarithm of the attention that a token receives in the last block, and the gradient "
            "term, beta times its gradient magnitude from 0 to 1. Colours go from the lowest "
            "twentieth of an instance's tokens to the highest.",
            small=True,
        ),
    )


def _heats(tokens: Sequence[SeenToken]) -> list[report.Heat]:
    coloured = zip(
        strengths([token.score for token in tokens]),
        strengths([token.context for token in tokens]),
        strengths([token.gradient for token in tokens]),
        strict=True,
    )
    return [
        report.Heat(token.text, token.kept, of_token, _numbers(place, token))
        for place, (token, of_token) in enumerate(zip(tokens, coloured, strict=True))
    ]


def _numbers(place: int, token: SeenToken) -> str:
    """What there is to say of a token."""
    context = "none" if token.context is None else f"{token.context:.3f}"
    return (
        f"token {place}, {token.kind}: {'kept' if token.kept else 'ditched'}, score "
        f"{token.score:.4g}, context term {context}, gradient term {token.gradient:.3f}"
        f"{', carries the loss' if token.supervised else ''}"
    )


def _bar(name: str, kept: Kept) -> report.Bar:
    shown = f"{_percent(kept)} ({kept.kept} of {kept.tokens})"
    return report.Bar(name, kept.share or 0.0, shown, 2)


def _percent(kept: Kept) -> str:
    return "none" if kept.share is None else f"{kept.share:.0%}"


def _training(steps: Sequence[RecordedStep]) -> str:
    """What a training kept, over its steps."""
    charts = over_steps(steps)
    return report.section(
        "By training step",
        report.side_by_side(
            *[
                report.together(
                    report.curves(chart.title, "step", chart.unit, chart.curves),
                    report.legend(chart.curves),
                )
                for chart in charts
            ]
        ),
    )

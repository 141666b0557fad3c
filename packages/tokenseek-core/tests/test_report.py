from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenseek_core import _report as report
from tokenseek_core._report._curves import Axis, ticks

HOSTILE = "<b onclick='x'>\"&"
ESCAPED = "&lt;b onclick=&#x27;x&#x27;&gt;&quot;&amp;"


@pytest.mark.parametrize(
    "part",
    [
        report.bars(HOSTILE, [report.Bar(HOSTILE, 1.0, HOSTILE, 0)]),
        report.stacked_bars(HOSTILE, [HOSTILE], [(HOSTILE, [report.Part(1.0, HOSTILE)], HOSTILE)]),
        report.curves(HOSTILE, HOSTILE, HOSTILE, [report.Curve(HOSTILE, [(0, 1), (1, 2)], 0)]),
        report.legend([report.Curve(HOSTILE, [], 0)]),
        report.shaded_text(
            HOSTILE, [report.Shade(HOSTILE, True, 0.5, HOSTILE)], [("weak", HOSTILE)]
        ),
        report.heat_choice([HOSTILE])
        + report.heat_text(HOSTILE, [report.Heat(HOSTILE, True, [0.5], HOSTILE)])
        + report.readout(HOSTILE),
        report.tiles([report.Tile(HOSTILE, HOSTILE, HOSTILE)]),
        report.facts_table(HOSTILE, [HOSTILE], [[HOSTILE, HOSTILE]]),
        report.definitions([(HOSTILE, HOSTILE)]),
        report.page(HOSTILE, HOSTILE, report.section(HOSTILE, report.paragraph(HOSTILE))),
    ],
)
def test_a_text_cannot_become_markup(part: str) -> None:
    assert ESCAPED in part
    assert "<b on" not in part


def test_the_longest_bar_fills_the_width_and_the_others_their_share() -> None:
    table = report.bars(
        "Bytes", [report.Bar("dense", 80, "80 B", 0), report.Bar("ours", 20, "20 B", 2)]
    )
    assert 'class="fill c0" style="width:100.00%"' in table
    assert 'class="fill c2" style="width:25.00%"' in table
    assert '<td class="value">20 B</td>' in table


def test_a_bar_fills_its_share_of_a_length_that_is_given() -> None:
    table = report.bars("Shares", [report.Bar("kept", 0.25, "25%", 0)], full=1.0)
    assert 'style="width:25.00%"' in table


def test_bars_of_nothing_have_no_length() -> None:
    assert "width:0.00%" in report.bars("Bytes", [report.Bar("dense", 0, "0 B", 0)])


def test_parts_of_a_stacked_bar_add_up_and_empty_ones_are_left_out() -> None:
    parts = [report.Part(30, "30 B"), report.Part(0, "0 B"), report.Part(10, "10 B")]
    table = report.stacked_bars("Peak", ["weights", "state", "rest"], [("dense", parts, "40 B")])
    assert 'k0" style="width:75.00%" title="weights: 30 B"' in table
    assert 'k2" style="width:25.00%" title="rest: 10 B"' in table
    assert 'class="fill k1"' not in table
    assert "state" in table  # in the legend


def test_a_marked_token_without_a_letter_of_its_own_is_still_seen() -> None:
    text = report.shaded_text("text", [report.Shade("", False, 1.0, "score 1")], [])
    assert '<mark title="score 1" style="--strength:100%">·</mark>' in text


@example(low=5e-324, span=0.0)
@given(
    low=st.floats(-1e6, 1e6),
    span=st.floats(0, 1e6).filter(lambda span: span == 0 or span > 1e-3),
)
def test_ticks_span_all_values_evenly(low: float, span: float) -> None:
    marks = ticks(low, low + span)
    step = marks[1] - marks[0]
    assert marks[0] <= low + 1e-6 * step
    assert marks[-1] >= low + span - 1e-6 * step
    assert 2 <= len(marks) <= 8
    assert all(abs(later - earlier - step) < 1e-6 * step for earlier, later in pairwise(marks))


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [
        (0.0, 4.2, ["0", "1", "2", "3", "4", "5"]),
        (2.456, 2.882, ["2.4", "2.5", "2.6", "2.7", "2.8", "2.9"]),
        (0.0, 69.3, ["0", "20", "40", "60", "80"]),
        (0.011, 0.013, ["0.0110", "0.0115", "0.0120", "0.0125", "0.0130"]),
    ],
)
def test_ticks_are_round_and_written_with_as_few_decimals_as_they_need(
    low: float, high: float, written: list[str]
) -> None:
    axis = Axis(ticks(low, high), 0, 100)
    assert [axis.written(tick) for tick in axis.ticks] == written
    assert axis.place(axis.ticks[0]) == 0
    assert axis.place(axis.ticks[-1]) == 100

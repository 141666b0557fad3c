from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from chromium import Page, browser, find_chromium
from tokenseek_core import TokenSeekConfig
from tokenseek_core._kept_shares import kept_shares
from tokenseek_core._recorded_step import RecordedStep, ScoreStatistics
from tokenseek_core._token_classes import TOKEN_CLASSES
from tokenseek_core.inspect import Seen, SeenSettings, SeenToken, Sight, seen_page

LENGTH = 512
CHROMIUM = find_chromium()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="chromium is not installed; apt-get install chromium"
    ),
]


def sight() -> Sight:
    """512 tokens of letters of all kinds, and a training of 300 recorded steps."""
    texts = ["<b>", " word", "\n", "", " 漢", '"', "&amp;", "\t"]
    values = torch.linspace(-3, 3, LENGTH).tolist()
    tokens = tuple(
        SeenToken(
            text=texts[place % len(texts)],
            kind=TOKEN_CLASSES[place % len(TOKEN_CLASSES)],
            supervised=place > LENGTH // 2,
            score=value,
            context=-value,
            gradient=value / 3,
            kept=place % 9 == 4,
        )
        for place, value in enumerate(values)
    )
    shares = kept_shares([[(token.kind, token.kept) for token in tokens]])
    steps = tuple(
        RecordedStep(step, shares, 0.5, ScoreStatistics(0.0, 1.0, 2.0)) for step in range(1, 301)
    )
    return Sight(
        SeenSettings(text=Path("a.txt")), TokenSeekConfig.paper(), "cpu", Seen((tokens,)), steps
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(seen_page(sight()), encoding="utf-8")
    return path


@pytest.fixture
def page(written: Path, tmp_path: Path) -> Iterator[Page]:
    assert CHROMIUM is not None
    with browser(CHROMIUM, tmp_path) as opened:
        opened.open(written)
        yield opened


def test_a_page_of_512_tokens_is_below_1_mb(written: Path) -> None:
    assert written.stat().st_size < 1_000_000


def test_the_console_is_told_nothing_and_nothing_else_is_asked_for(
    page: Page, written: Path
) -> None:
    page.point_at(".heat [data-n]")
    page.value("document.querySelector('#heat1').click()")
    assert page.told == []
    assert page.addresses == [written.as_uri()]
    assert page.value("document.querySelectorAll('.heat [data-n]').length") == LENGTH


def test_the_console_is_listened_to(page: Page) -> None:
    page.value("console.error('heard')")
    assert "heard" in page.told[0]


def test_pointing_at_a_token_shows_its_numbers(page: Page) -> None:
    shown = "document.querySelector('.readout').textContent"
    assert page.value(shown) == "Point at a token to see its numbers."
    page.point_at(".heat b")
    assert page.value(shown) == (
        "token 4, special: kept, score -2.953, context term 2.953, gradient term -0.984"
    )
    page.point_at(".heat :last-child")
    assert page.value(shown).startswith("token 511, answer: ditched, score 3, context term -3.000")


def test_the_numbers_stay_in_sight_beside_the_token(page: Page) -> None:
    page.screenshot(width=900, height=500)
    page.point_at(".heat b")
    box = page.value(
        "(() => {const r = document.querySelector('.readout').getBoundingClientRect();"
        "return [r.top, r.bottom, innerHeight]})()"
    )
    assert 0 <= box[0] < box[1] <= box[2]


def test_the_reader_chooses_what_colours_the_tokens(page: Page) -> None:
    colour = "getComputedStyle(document.querySelector('.heat :last-child')).backgroundColor"
    by_score = page.value(colour)
    page.value("document.querySelector('#heat1').click()")
    by_context = page.value(colour)
    page.value("document.querySelector('#heat2').click()")
    assert page.value(colour) == by_score, "both are the highest there"
    assert by_context != by_score, "and the context term the lowest"

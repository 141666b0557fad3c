"""Mean scores that pages tell in a sentence are those of the comparison's tables."""

from __future__ import annotations

import re

import pytest

from site_pages import DOCS
from workspace import ROOT

SENTENCES = {
    "MiniLM-L6, classification": "mean score of three seeds at equal steps: (.+?)\\. ",
    "SmolLM2-135M, in words": "TREC and RTE, in words: (.+?);",
}


def means(section: str) -> dict[str, str]:
    """The last column but one of a section's first table, by the method's name."""
    text = (DOCS / "comparison.md").read_text(encoding="utf-8").split(f"### {section}\n")[1]
    head, _, *rows = text.strip().split("\n\n")[0].splitlines()
    place = [cell.strip() for cell in head.split("|")].index("mean")
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    return {re.split(r",| \(", row[1])[0]: row[place] for row in cells}


@pytest.mark.parametrize(
    ("page", "section"),
    [
        ("packages/mept/README.md", "MiniLM-L6, classification"),
        ("docs/beside.md", "MiniLM-L6, classification"),
        ("docs/beside.md", "SmolLM2-135M, in words"),
    ],
)
def test_scores_in_a_sentence_are_those_of_the_table(page: str, section: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    sentence = re.search(SENTENCES[section], text)
    assert sentence
    told = dict(re.findall(r"([A-Za-z][\w -]+?) (\d\d\.\d)", sentence[1]))
    assert len(told) >= 4
    assert told == {name: score for name, score in means(section).items() if name in told}

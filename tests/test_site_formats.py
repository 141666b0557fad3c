"""The page about formats says what the code reads."""

from __future__ import annotations

import re
from pathlib import Path

from promotion.datasets._open import LAYOUTS
from promotion.io import _depth, _flow
from promotion.io._image import IMAGE_FORMATS
from site_pages import DOCS, blocks
from tokenseek_common.data import TASKS, labelled_text_task, load_records, load_task

PAGE = DOCS / "formats.md"
TEXT = PAGE.read_text(encoding="utf-8")


def table(heading: str) -> list[list[list[str]]]:
    """The code of each cell of the table under a heading."""
    part = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in part.splitlines() if line.startswith("| `")]
    return [[re.findall(r"`([^`]+)`", cell) for cell in row.split("|")[1:-1]] for row in rows]


def test_the_tasks_have_their_fields_and_labels() -> None:
    assert table("Tasks") == [
        [[name], list(task.fields), list(task.labels)] for name, task in TASKS.items()
    ]


def test_the_layouts_are_told_with_what_they_are_known_by() -> None:
    told = table("Data sets of flow and depth")
    names = [name for row in told for name in row[0] if not name.startswith("promotion")]
    assert names == [layout.name for layout in LAYOUTS]
    known = [pattern for row in told for pattern in row[1]]
    assert known == [
        pattern
        for layout in LAYOUTS
        for pattern in layout.files
        if not pattern.startswith("*/*_sync")
    ]


def test_the_suffixes_are_those_of_the_readers() -> None:
    assert {row[0][0] for row in table("Flow")} == _flow._FORMATS.keys()
    assert {row[0][0] for row in table("Depth")} == _depth._FORMATS.keys()
    pictures = TEXT.split("## Pictures")[1].split(".\n")[0].split(". ")[0]
    same = {".jpeg": ".jpg", ".tif": ".tiff"}
    assert set(re.findall(r"`(\.\w+)`", pictures)) == {
        same.get(each, each) for each in IMAGE_FORMATS
    }


def test_the_rows_that_are_shown_are_records(tmp_path: Path) -> None:
    shown, task = blocks(PAGE, "json")
    (tmp_path / "shown.jsonl").write_text(shown.text)
    records = load_records(tmp_path / "shown.jsonl")
    assert [record.messages[-1].content for record in records if record.messages] == [
        *("Jane Austen.", "la mer", "4")
    ]
    (tmp_path / "task.jsonl").write_text(task.text)
    (sample,) = load_task(labelled_text_task("mood", ["sad", "glad"]), tmp_path / "task.jsonl")
    assert sample.texts == {"text": "the rain of grief"}

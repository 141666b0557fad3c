"""New rows of a task, whose labels are not read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.superglue_rows import OFFICIAL
from tokenseek_common import InputError
from tokenseek_common.data import TASKS, labelled_text_task, load_rows, load_task

MOOD = labelled_text_task("mood", ["sad", "glad"])


def test_rows_come_with_their_samples_whatever_their_labels(tmp_path: Path) -> None:
    rows = [{"id": 3, "text": "a", "label": "unknown"}, {"id": 4, "text": "b"}]
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load_rows(MOOD, path)
    assert [row for row, _ in found] == rows
    assert [sample.texts for _, sample in found] == [{"text": "a"}, {"text": "b"}]
    assert all(sample.task == MOOD and sample.answers == () for _, sample in found)
    assert all(sample.choices == ("sad", "glad") for _, sample in found)
    assert len(load_rows(MOOD, path, limit=1)) == 1


def test_plain_lines_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    path.write_text("sad is the day\n\nand glad\n")
    found = load_rows(MOOD, path)
    assert [sample.texts["text"] for _, sample in found] == ["sad is the day", "and glad"]
    assert [row for row, _ in found] == [{"text": "sad is the day"}, {"text": "and glad"}]


@pytest.mark.parametrize("task", OFFICIAL)
def test_rows_of_the_official_files_ask_what_they_ask_with_labels(
    task: str, tmp_path: Path
) -> None:
    path = tmp_path / "val.jsonl"
    path.write_text(json.dumps(OFFICIAL[task]) + "\n")
    samples = load_task(task, path)
    found = [sample for _, sample in load_rows(TASKS[task], path)]
    assert [(s.texts, s.choices, s.group) for s in found] == [
        (s.texts, s.choices, s.group) for s in samples
    ]
    assert not any(sample.answers for sample in found)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.txt", "", "source ({path}) must hold at least one sample; it is empty"),
        (
            "other.jsonl",
            '{"body": "a"}\n',
            "{path}, line 1: fields (body) must include text; rename the fields or choose another "
            "task",
        ),
    ],
)
def test_what_holds_no_rows_of_the_task_is_refused(
    name: str, content: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError) as refused:
        load_rows(MOOD, path)
    assert str(refused.value) == said.format(path=path)

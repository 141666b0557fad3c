from __future__ import annotations

import io

from mept.training._by_class import by_class, tell_by_class
from tokenseek_common.cli import Console
from tokenseek_common.data import TASKS, TaskSample, labelled_text_task

MOOD = labelled_text_task("mood", ("glad", "sad", "neither"))


def sample(label: str) -> TaskSample:
    return TaskSample(MOOD, {"text": "a"}, MOOD.labels, (label,))


def test_a_rare_label_that_is_never_found_is_seen_in_its_scores() -> None:
    """63 to 1: 98 % are right, and nothing was learnt."""
    found = by_class([sample("glad")] * 63 + [sample("sad")], [0] * 64)["mood"]
    assert found == {
        "labels": ["glad", "sad", "neither"],
        "confusion": [[63, 0, 0], [1, 0, 0], [0, 0, 0]],
        "precision": [63 / 64, 0.0, 0.0],
        "recall": [1.0, 0.0, 0.0],
        "f1": [126 / 127, 0.0, 0.0],
    }


def test_rows_are_right_labels_and_columns_are_chosen_ones() -> None:
    samples = [sample(label) for label in ("glad", "glad", "sad", "neither", "neither")]
    found = by_class(samples, [0, 1, 1, 1, 2])["mood"]
    assert found["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 1, 1]]
    assert found["precision"] == [1, 1 / 3, 1]
    assert found["recall"] == [1 / 2, 1, 1 / 2]
    assert found["f1"] == [2 / 3, 1 / 2, 2 / 3]


def test_what_has_no_labels_of_its_own_is_left_out() -> None:
    query = TaskSample(TASKS["record"], {"query": "q"}, ("Ann", "Bob"), ("Ann",))
    unknown = TaskSample(MOOD, {"text": "a"}, MOOD.labels)
    assert by_class([query, unknown, sample("sad")], [0, 0, 1]).keys() == {"mood"}
    assert by_class([query], [0]) == {}


def test_the_table_has_a_line_for_each_label() -> None:
    shown = io.StringIO()
    tell_by_class(by_class([sample("glad"), sample("sad")], [0, 0]), Console(stdout=shown))
    lines = [line.split() for line in shown.getvalue().splitlines()]
    assert ["glad", "1", "0.5", "1", "0.6667", "1", "0", "0"] in lines
    assert ["sad", "1", "0", "0", "0", "1", "0", "0"] in lines

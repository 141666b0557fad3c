"""Tasks whose answers are a label for each word, a number, or a span of a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenseek_common import InputError
from tokenseek_common.data import (
    Task,
    TaskSample,
    answer_span_task,
    entities,
    entity_f1,
    labelled_text_task,
    load_rows,
    load_task,
    numbered_text_task,
    pearson,
    render_classification,
    spearman,
    stratified_split,
    tagged_words_task,
)

NAMES = tagged_words_task("names", ["O", "B-PER", "I-PER", "B-LOC"])
ALIKE = numbered_text_task("alike", text_fields=["first", "second"])
SQUAD = answer_span_task("squad")


def read(task: Task, folder: Path, *rows: dict[str, Any]) -> list[TaskSample]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task(task, path)


def refused(task: Task, folder: Path, row: dict[str, Any]) -> str:
    with pytest.raises(InputError) as error:
        read(task, folder, row)
    return str(error.value).partition("line 1: ")[2]


def test_words_come_as_a_list_or_as_text_and_labels_by_name_or_index(tmp_path: Path) -> None:
    listed, plain = read(
        NAMES,
        tmp_path,
        {"text": ["Ann", "Lee", "left"], "label": ["B-PER", 2, "O"]},
        {"text": "Ann  Lee left", "label": "B-PER I-PER O"},
    )
    assert listed == plain
    assert (listed.texts, listed.answers) == ({"text": "Ann Lee left"}, ("B-PER", "I-PER", "O"))


def test_labels_of_words_may_differ_in_marks_alone() -> None:
    assert tagged_words_task("pos", ["PRP", "PRP$", ".", ","]).labels == ("PRP", "PRP$", ".", ",")
    with pytest.raises(InputError, match="two words or more"):
        labelled_text_task("pos", ["PRP", "PRP$"])


def test_numbers_are_read_from_numbers_and_text_and_may_be_unknown(tmp_path: Path) -> None:
    texts = {"first": "a", "second": "b"}
    found = read(
        ALIKE, tmp_path, texts | {"label": 3}, texts | {"label": "-0.5"}, texts | {"label": None}
    )
    assert [sample.answers for sample in found] == [("3.0",), ("-0.5",), ()]
    rendered = render_classification(found[0])
    assert (rendered.text, rendered.text_pair, rendered.label) == ("a", "b", None)


def test_lines_of_a_number_and_a_text_are_read(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("2.5 not bad\n")
    (sample,) = load_task(numbered_text_task("stars"), path)
    assert (sample.texts["text"], sample.answers) == ("not bad", ("2.5",))
    path.write_text("Ann left\n")
    [(_, sample)] = load_rows(NAMES, path)
    assert (sample.texts["text"], sample.answers) == ("Ann left", ())


def test_spans_stand_where_they_say_and_questions_of_one_context_stay_together(
    tmp_path: Path,
) -> None:
    rows = [
        {
            "question": f"what {place}",
            "context": f"It rains {place // 2}.",
            "answers": {"text": ["rains", "It rains", "rains"], "answer_start": [3, 0, 3]},
        }
        for place in range(8)
    ]
    found = read(SQUAD, tmp_path, *rows)
    assert (found[0].answers, found[0].starts) == (("rains", "It rains"), (3, 0))
    train, held = stratified_split(found, eval_size=2)
    assert not {sample.group for sample in train} & {sample.group for sample in held}
    unknown = read(SQUAD, tmp_path, {"question": "what", "context": "It rains."})
    assert unknown[0].answers == ()


@pytest.mark.parametrize(
    ("task", "row", "expected"),
    [
        (
            NAMES,
            {"text": ["Ann", "Lee"], "label": ["O"]},
            "label (1) must be as many as the words of text (2); give each word its own",
        ),
        (
            NAMES,
            {"text": ["Ann Lee"], "label": ["O"]},
            "text ('Ann Lee') must be words without spaces; part it, or take the spaces out",
        ),
        (NAMES, {"text": " ", "label": []}, "text (no words) must be at least one; remove the row"),
        (
            NAMES,
            {"text": "Ann", "label": ["b-per"]},
            "label (b-per) must be of O, B-PER, I-PER, B-LOC or indices below 4; mend the row, or "
            "give the task all of its labels",
        ),
        (
            NAMES,
            {"text": "Ann", "label": [True]},
            "label (True) must be of O, B-PER, I-PER, B-LOC or indices below 4; mend the row, or "
            "give the task all of its labels",
        ),
        (
            ALIKE,
            {"first": "a", "second": "b", "label": "many"},
            "label (many) must be a finite number; mend the row, or name another field",
        ),
        (
            ALIKE,
            {"first": "a", "second": "b", "label": True},
            "label (True) must be a finite number; mend the row, or name another field",
        ),
        (
            SQUAD,
            {
                "question": "what",
                "context": "It rains.",
                "answers": {"text": ["rains"], "answer_start": [2]},
            },
            "answers ('rains' at 2) must stand in the context where they say; count characters "
            "from 0",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    task: Task, row: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    assert refused(task, tmp_path, row) == expected


tags = st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), max_size=7)


def slow_entities(found: list[str]) -> set[tuple[str, int, int]]:
    """Every run of words, asked whether it is an entity that could not go on."""
    kinds = ["" if tag == "O" else tag[2:] for tag in found]

    def begins(place: int) -> bool:
        before = kinds[place - 1] if place else ""
        return bool(kinds[place]) and (found[place][0] == "B" or before != kinds[place])

    runs = [(start, end) for end in range(len(found) + 1) for start in range(end)]
    return {
        (kinds[start], start, end)
        for start, end in runs
        if begins(start)
        and all(kinds[w] == kinds[start] and not begins(w) for w in range(start + 1, end))
        and (end == len(found) or not kinds[end] or begins(end))
    }


@given(tags)
def test_entities_are_the_runs_that_a_search_finds(found: list[str]) -> None:
    assert {tuple(entity) for entity in entities(found)} == slow_entities(found)


@given(st.lists(st.tuples(tags, st.randoms()), min_size=1, max_size=4))
def test_f1_of_entities_counts_those_that_are_right_in_kind_and_ends(texts: Any) -> None:
    right = [found for found, _ in texts]
    claimed = [random.sample(found, len(found)) for found, random in texts]
    pairs = [(slow_entities(c), slow_entities(r)) for c, r in zip(claimed, right, strict=True)]
    hits = sum(len(c & r) for c, r in pairs)
    count = sum(len(c) + len(r) for c, r in pairs)
    assert entity_f1(claimed, right) == pytest.approx(2 * hits / count if count else 1.0)


def test_f1_needs_a_label_for_each_word() -> None:
    with pytest.raises(InputError, match="must be as many as answers"):
        entity_f1([["O"]], [["O", "O"]])


def slow_correlation(found: list[float], right: list[float]) -> float:
    """The covariance over both deviations, from the definition."""
    first, second = (np.array(values) - np.mean(values) for values in (found, right))
    spread = float(np.sqrt(first @ first) * np.sqrt(second @ second))
    return float(first @ second) / spread if spread else 0.0


numbers = st.integers(-3, 3).map(float)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=9))
def test_correlations_are_those_of_the_definition(pairs: list[tuple[float, float]]) -> None:
    found, right = [one for one, _ in pairs], [other for _, other in pairs]
    ranks = [
        [1 + sum(o < v for o in values) + (values.count(v) - 1) / 2 for v in values]
        for values in (found, right)
    ]
    assert pearson(found, right) == pytest.approx(slow_correlation(found, right), abs=1e-12)
    assert spearman(found, right) == pytest.approx(slow_correlation(*ranks), abs=1e-12)


def test_correlations_need_a_prediction_for_each_answer() -> None:
    with pytest.raises(InputError, match=r"predictions \(1\) must be as many as answers \(2\)"):
        pearson([1.0], [1.0, 2.0])

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.superglue_rows import sample_of
from tokenseek_common import InputError
from tokenseek_common.data import (
    TASKS,
    TaskSample,
    accuracy,
    answer_exact_match,
    answer_f1,
    macro_f1,
    multirc_exact_match,
    multirc_f1a,
    normalize_answer,
    score_predictions,
)

pairs = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3)), min_size=1, max_size=12)


def told(call: Callable[..., object], *arguments: Any) -> str:
    with pytest.raises(InputError) as error:
        call(*arguments)
    return str(error.value)


def record_sample(*answers: str) -> TaskSample:
    task, choices = TASKS["record"], ("Ann Lee", "Bob", "the U.S.")
    return TaskSample(task, dict.fromkeys(task.fields, "text"), choices, answers)


def test_accuracy_counts_what_is_right() -> None:
    assert accuracy([1, 0, 1, -1], [1, 1, 1, 0]) == 0.5


def test_macro_f1_weighs_each_class_alike() -> None:
    # By hand: class 0 has TP 2, FP 1, FN 0: 4/5; class 1 TP 1, FP 1, FN 1: 1/2; class 2 has
    # TP 0, FP 0, FN 1: 0.
    assert macro_f1([0, 0, 0, 1, 1], [0, 0, 1, 1, 2]) == pytest.approx((4 / 5 + 1 / 2 + 0) / 3)


def test_macro_f1_counts_a_class_that_was_only_predicted_and_none_for_no_answer() -> None:
    # Class 0: TP 1, FN 1, 2/3; class 1: TP 0, FP 1, 0.
    assert macro_f1([0, 1], [0, 0]) == pytest.approx((2 / 3 + 0) / 2)
    # Class 0: TP 1, FN 1, 2/3, and no other class.
    assert macro_f1([0, -1], [0, 0]) == pytest.approx(2 / 3)


@given(pairs)
def test_macro_f1_is_the_mean_of_harmonic_means(drawn: list[tuple[int, int]]) -> None:
    scores = []
    for index in {number for pair in drawn for number in pair} - {-1}:
        right = sum(pair == (index, index) for pair in drawn)
        claimed = sum(found == index for found, _ in drawn)
        there = sum(label == index for _, label in drawn)
        if right == 0:
            scores.append(Fraction(0))
            continue
        precision, recall = Fraction(right, claimed), Fraction(right, there)
        scores.append(2 / (1 / precision + 1 / recall))
    predictions, labels = map(list, zip(*drawn, strict=True))
    assert macro_f1(predictions, labels) == pytest.approx(float(sum(scores) / len(scores)))


def test_f1a_is_over_all_answers_of_all_questions() -> None:
    # TP 2, FP 1, FN 1: precision and recall are 2/3.
    assert multirc_f1a([1, 1, 1, 0, 0], [1, 1, 0, 1, 0]) == pytest.approx(2 / 3)
    assert multirc_f1a([0, 0], [1, 0]) == 0


def test_a_question_is_matched_when_each_of_its_answers_is() -> None:
    questions = ["a", "a", "b", "b", "c"]
    assert multirc_exact_match([1, 0, 1, 1, -1], [1, 0, 1, 0, 0], questions) == 1 / 3


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The  U.S. Senate!", "us senate"),
        ("An apple a day", "apple day"),
        ("theory", "theory"),
        ("the", ""),
        ("Zoë-Ann", "zoëann"),
    ],
)
def test_normalising_drops_case_marks_articles_and_spaces(text: str, left: str) -> None:
    assert normalize_answer(text) == left


def test_any_of_the_answers_will_do() -> None:
    assert answer_exact_match("the us", ["Rome", "U.S."]) == 1
    assert answer_exact_match("us army", ["Rome", "U.S."]) == 0


def test_f1_is_that_of_the_closest_answer() -> None:
    # Two words of three are shared with "Ann Lee": 2 * 2 / (3 + 2).
    assert answer_f1("Ann Mary Lee", ["Bob", "Ann Lee"]) == pytest.approx(4 / 5)
    # A word counts as often as it stands on both sides: 2 * 1 / (2 + 1).
    assert answer_f1("bob Bob", ["Bob"]) == pytest.approx(2 / 3)
    assert answer_f1("the", ["a"]) == 0


def test_metrics_refuse_what_cannot_be_compared() -> None:
    rule = "must be as many as labels (0), at least one; give one for each"
    for metric in (accuracy, macro_f1, multirc_f1a):
        assert told(metric, [], []) == f"predictions (0) {rule}"
    assert told(accuracy, [1], [1, 0]) == (
        "predictions (1) must be as many as labels (2), at least one; give one for each"
    )
    assert told(multirc_exact_match, [1, 0], [1, 0], ["a"]) == (
        "questions (1) must be as many as labels (2), at least one; give one for each"
    )
    for written in (answer_f1, answer_exact_match):
        assert told(written, "Bob", []) == (
            "answers (0) must be at least one; leave unanswered samples out"
        )


@pytest.mark.parametrize(
    "predictions", [[0, 1, 0], ["entailment", " Contradiction.", "ENTAILMENT"]]
)
def test_cb_is_scored_by_accuracy_and_macro_f1(predictions: list[int | str]) -> None:
    samples = [sample_of("cb", label) for label in ("entailment", "contradiction", "neutral")]
    # Class 0: TP 1, FP 1: 2/3; class 1: 1; class 2: 0.
    f1 = (2 / 3 + 1 + 0) / 3
    assert score_predictions(samples, predictions) == {
        "cb": pytest.approx({"accuracy": 2 / 3, "macro_f1": f1, "score": (2 / 3 + f1) / 2})
    }


def test_what_is_no_label_is_wrong() -> None:
    samples = [sample_of("rte", "entailment")] * 2
    scores = score_predictions(samples, ["entailment", "not entailment"])
    assert scores == {"rte": {"accuracy": 0.5, "score": 0.5}}


def test_multirc_is_scored_by_f1a_and_exact_match_a_question() -> None:
    samples = [
        sample_of("multirc", answer, group=group, question="0")
        for group, answer in [("p", "True"), ("p", "False"), ("q", "True"), ("q", "False")]
    ]
    # TP 2, FP 1: 4/5; the question of paragraph p is matched, that of q is not.
    assert score_predictions(samples, [1, 0, 1, "true"]) == {
        "multirc": pytest.approx({"f1a": 4 / 5, "exact_match": 1 / 2, "score": 0.65})
    }


def test_record_is_scored_by_the_closest_answer() -> None:
    samples = [record_sample("Lee", "Ann Lee"), record_sample("US"), record_sample("Ann Lee")]
    assert score_predictions(samples, [0, "The US.", "Lee"]) == {
        "record": pytest.approx({"f1": (1 + 1 + 2 / 3) / 3, "exact_match": 2 / 3, "score": 7 / 9})
    }


def test_each_task_of_a_mixture_has_its_own_score() -> None:
    samples = [sample_of("wic", "True"), sample_of("boolq", "True"), sample_of("wic", "False")]
    scores = score_predictions(samples, list(np.array([1, 0, 1])))
    assert scores == {
        "wic": {"accuracy": 0.5, "score": 0.5},
        "boolq": {"accuracy": 0.0, "score": 0.0},
    }


def test_scores_refuse_what_cannot_be_scored() -> None:
    task = TASKS["wic"]
    unknown = TaskSample(task, dict.fromkeys(task.fields, "text"), task.labels)
    known = sample_of("wic", "True")
    assert told(score_predictions, [], []) == (
        "predictions (0) must be as many as samples (0), at least one; give one for each"
    )
    assert told(score_predictions, [known], [1, 1]) == (
        "predictions (2) must be as many as samples (1), at least one; give one for each"
    )
    assert told(score_predictions, [known, unknown], [1, 1]) == (
        "samples[1].answers (none) must be known to be scored; choose a split with labels"
    )
    for index in (-1, 2):
        assert told(score_predictions, [known], [index]) == (
            f"predictions[0] ({index}) must be an index below 2; predict one of the choices"
        )

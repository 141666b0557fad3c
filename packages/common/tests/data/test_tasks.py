from __future__ import annotations

import pytest

from data.superglue_rows import HUB, sample_of
from tokenseek_common import InputError
from tokenseek_common.data import (
    TASKS,
    ClassificationText,
    Task,
    TaskSample,
    find_task,
    labelled_text_task,
    render_candidates,
    render_classification,
    render_text_to_text,
)

RAIN = {"question": "is it wet", "passage": "It rains."}


def record_sample() -> TaskSample:
    row = HUB["record"][0]
    texts = {"query": "@placeholder met Bob", "entities": "Ann Lee, Bob, Lee", "passage": "So."}
    assert row["query"] == texts["query"]
    return TaskSample(TASKS["record"], texts, ("Ann Lee", "Bob", "Lee"), ("Ann Lee", "Lee"))


def test_the_tasks_are_superglues_eight_and_labelled_text() -> None:
    assert list(TASKS) == [
        *("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc"),
        *("sst2", "sst5", "trec"),
    ]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_reads_each_of_its_fields_in_either_form(task: Task) -> None:
    assert task.long_field in (None, *task.fields)
    read = {field for side in task.sides for field in side}
    # The entities of ReCoRD go into the gap of its query.
    assert read == set(task.fields) - ({"entities"} if task.name == "record" else set())


def test_a_task_is_found_in_any_case() -> None:
    assert find_task("MultiRC") is TASKS["multirc"]


def test_an_unknown_task_is_told_with_those_that_are_known() -> None:
    with pytest.raises(InputError) as error:
        find_task("squad")
    assert str(error.value) == (
        "task (squad) must be one of boolq, cb, copa, multirc, record, rte, wic, wsc, sst2, sst5, "
        "trec; choose one of them, or describe your own with labelled_text_task"
    )


@pytest.mark.parametrize(
    ("labels", "fields", "told"),
    [
        (
            ["yes"],
            ["text"],
            "labels (yes) must be two words or more that differ in more than case and "
            "punctuation; rename them",
        ),
        (
            ["Yes", "yes."],
            ["text"],
            "labels (Yes, yes.) must be two words or more that differ in more than case and "
            "punctuation; rename them",
        ),
        (
            ["+", "good"],
            ["text"],
            "labels (+, good) must be two words or more that differ in more than case and "
            "punctuation; rename them",
        ),
        (
            ["no", "yes"],
            [],
            "fields (label) must be at least one text and the label, each named once; "
            "rename the fields",
        ),
        (
            ["no", "yes"],
            ["label"],
            "fields (label, label) must be at least one text and the label, each named once; "
            "rename the fields",
        ),
        (
            ["no", "yes"],
            ["a", "b", "c"],
            "text_fields (a, b, c) must be one or two; leave some out",
        ),
    ],
)
def test_a_task_that_cannot_be_told_apart_is_refused(
    labels: list[str], fields: list[str], told: str
) -> None:
    with pytest.raises(InputError) as error:
        labelled_text_task("own", labels, text_fields=fields)
    assert str(error.value) == told


def test_the_input_begins_with_the_task_and_names_each_field() -> None:
    task = TASKS["boolq"]
    rendered = render_text_to_text(TaskSample(task, RAIN, task.labels, ("True",)))
    assert rendered.input == "boolq question: is it wet passage: It rains."
    assert rendered.target == "True"
    assert render_text_to_text(TaskSample(task, RAIN, task.labels)).target is None


@pytest.mark.parametrize("name", TASKS)
def test_every_input_names_its_task(name: str) -> None:
    task = TASKS[name]
    sample = TaskSample(task, {field: f"<{field}>" for field in task.fields}, ("a", "b"))
    fields = " ".join(f"{field}: <{field}>" for field in task.fields)
    assert render_text_to_text(sample).input == f"{name} {fields}"


def test_a_classifier_reads_one_text_or_two() -> None:
    boolq, trec, wic = TASKS["boolq"], TASKS["trec"], TASKS["wic"]
    assert render_classification(TaskSample(boolq, RAIN, boolq.labels, ("True",))) == (
        ClassificationText("is it wet", "It rains.", 1)
    )
    assert render_classification(TaskSample(trec, {"text": "Who ?"}, trec.labels)) == (
        ClassificationText("Who ?", None, None)
    )
    texts = {"sentence1": "By the bank.", "sentence2": "Rob a bank.", "word": "bank"}
    assert render_classification(TaskSample(wic, texts, wic.labels, ("False",))) == (
        ClassificationText("By the bank.", "sentence2: Rob a bank. word: bank", 0)
    )


def test_a_candidate_fills_the_gap_of_the_query() -> None:
    assert render_candidates(record_sample()) == [
        ClassificationText("So.", "Ann Lee met Bob", 1),
        ClassificationText("So.", "Bob met Bob", 0),
        ClassificationText("So.", "Lee met Bob", 1),
    ]


def test_candidates_without_answers_have_no_labels() -> None:
    sample = TaskSample(TASKS["record"], record_sample().texts, ("Ann",))
    assert [pair.label for pair in render_candidates(sample)] == [None]


def test_choices_that_differ_from_sample_to_sample_are_no_classes() -> None:
    with pytest.raises(InputError) as error:
        render_classification(record_sample())
    assert str(error.value) == (
        "task (record) must have fixed labels to be classified; score each choice with "
        "render_candidates, or use the text-to-text form"
    )


def test_fixed_labels_are_no_candidates() -> None:
    with pytest.raises(InputError) as error:
        render_candidates(sample_of("cb", "neutral"))
    assert str(error.value) == (
        "task (cb) must have choices that differ from sample to sample; use render_classification"
    )

"""The heads that answer: which tasks each is for, and what opens it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from mept.training._classification import output_count
from mept.training._forms import FormName
from tokenseek_common import InputError
from tokenseek_common.data import Task


@dataclass(frozen=True)
class Head:
    """What stands on top of a model.

    Args:
        layout: That of the tasks that it is for; None is for those with labels or candidates.
        model_class: What of transformers opens a model with it.
        task_type: What PEFT calls it.
        pipeline: What the hub calls it.
        outputs: How many it has for some tasks.
        answers: What such a task has for an answer, in words.
    """

    layout: str | None
    model_class: Any
    task_type: str
    pipeline: str
    outputs: Callable[[Sequence[Task]], int]
    answers: str


HEADS: dict[FormName, Head] = {
    "classification": Head(
        None,
        AutoModelForSequenceClassification,
        "SEQ_CLS",
        "text-classification",
        output_count,
        "a label",
    ),
    "regression": Head(
        "number",
        AutoModelForSequenceClassification,
        "SEQ_CLS",
        "text-classification",
        lambda tasks: 1,
        "a number",
    ),
    "token-classification": Head(
        "words",
        AutoModelForTokenClassification,
        "TOKEN_CLS",
        "token-classification",
        lambda tasks: len(tasks[0].labels),
        "a label for each word",
    ),
    "question-answering": Head(
        "span",
        AutoModelForQuestionAnswering,
        "QUESTION_ANS",
        "question-answering",
        lambda tasks: 2,
        "a span of its context",
    ),
}
"""Those of every form but text-to-text, where the model writes."""

HEAD_MODULES = ("classifier", "score", "qa_outputs")
"""What models call them; PEFT trains and saves them by itself."""


def check_tasks(form: FormName, tasks: Sequence[Task]) -> None:
    """Refuse tasks that a form is not for.

    Raises:
        InputError: Their answers are of another kind, or they are several where a head has one.
    """
    head = HEADS.get(form)
    layout = None if head is None else head.layout
    own = {each.layout for each in HEADS.values()} - {None}
    for task in tasks:
        if (task.layout if task.layout in own else None) != layout:
            wanted = HEADS["classification" if head is None else form].answers
            raise InputError(
                f"task ({task.name}) must have {wanted} for an answer in form {form}; "
                "give a task of your own as NAME=FILE, or train in another --form"
            )
    if layout is not None and len(tasks) > 1:
        raise InputError(
            f"task ({', '.join(task.name for task in tasks)}) must be a single one in form {form}; "
            "train an adapter for each"
        )

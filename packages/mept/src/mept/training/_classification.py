"""Answers as classes: one head for the labels of all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from mept.training._choices import ChoiceForm
from mept.training._forms import Collator, Row
from tokenseek_common import InputError
from tokenseek_common.data import (
    ClassificationExample,
    PairTokenizer,
    Task,
    TaskSample,
    encode_candidates,
    encode_classification,
)

_WRONG_OR_RIGHT = 2  # outputs of a task whose choices differ from sample to sample


class ClassificationForm(ChoiceForm):
    """A head with an output for each label of each task; a sample is judged by those of its own.

    A sample of ReCoRD has a row for each of its entities, told right from wrong by two outputs.

    Args:
        tokenizer: A fast tokenizer with a padding token.
        tasks: All tasks that the head is for, in the order of their outputs.
        max_length: Most tokens of a row.
        prefixed: Whether the name of the task stands before the text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        tasks: Sequence[Task],
        *,
        max_length: int,
        prefixed: bool,
    ) -> None:
        self.tokenizer = cast(PairTokenizer, tokenizer)
        self.tasks = tuple(tasks)
        self.max_length = max_length
        self.prefixed = prefixed
        self.collator = cast(Collator, DataCollatorWithPadding(tokenizer))

    def train_rows(self, sample: TaskSample) -> list[Row]:
        """A row with its class among all, or one for each candidate."""
        first, _ = outputs_of(sample.task, self.tasks)
        return [
            encoded_row(example) | {"labels": first + (example.label or 0)}
            for example in self._encoded(sample)
        ]

    def choice_rows(self, sample: TaskSample) -> list[Row]:
        """A row, or one for each candidate."""
        return [encoded_row(example) for example in self._encoded(sample)]

    def row_scores(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """The logits of all classes of all tasks, [b, c]."""
        logits: Tensor = model(**batch).logits
        return logits.float()

    def choice_scores(self, sample: TaskSample, scores: Tensor) -> Tensor:
        """The logits of the task's classes, or of each candidate how far right is above wrong."""
        first, count = outputs_of(sample.task, self.tasks)
        own = scores[:, first : first + count]  # [rows, c]
        return own[0] if sample.task.labels else own[:, 1] - own[:, 0]

    def _encoded(self, sample: TaskSample) -> list[ClassificationExample]:
        if not sample.task.labels:
            return encode_candidates(sample, self.tokenizer, max_length=self.max_length)
        return [
            encode_classification(
                sample, self.tokenizer, max_length=self.max_length, prefixed=self.prefixed
            )
        ]


def outputs_of(task: Task, tasks: Sequence[Task]) -> tuple[int, int]:
    """The first output of a task, and how many it has.

    A task that is not among them has those of the first with the same labels.

    Raises:
        InputError: There is none.
    """
    same = [each for each in tasks if each.labels == task.labels]
    if same:
        found = next((each for each in same if each.name == task.name), same[0])
        return output_count(tasks[: tasks.index(found)]), _count(found)
    had = "; ".join(f"{each.name}: {', '.join(each.labels) or 'entities'}" for each in tasks)
    raise InputError(
        f"task ({task.name}: {', '.join(task.labels) or 'entities'}) must have labels that the "
        f"head was trained on ({had}); choose a task with them, or train on this one"
    )


def output_count(tasks: Sequence[Task]) -> int:
    """How many outputs a head for these tasks has."""
    return sum(map(_count, tasks))


def _count(task: Task) -> int:
    return len(task.labels) or _WRONG_OR_RIGHT


def encoded_row(example: ClassificationExample) -> Row:
    """What a model is run on."""
    row: Row = {"input_ids": example.input_ids}
    if example.token_type_ids is not None:
        row["token_type_ids"] = example.token_type_ids
    return row

"""How a model is asked and how its answers are read, whatever its head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mept.training._by_class import ByClass
from tokenseek_common.data import TaskSample

FormName = Literal[
    "classification", "text-to-text", "token-classification", "regression", "question-answering"
]
"""Whether a model chooses among labels, writes its answer, labels each word, tells a number, or
marks the answer in a text."""
Row = dict[str, Any]
Collator = Callable[[list[Row]], dict[str, Tensor]]
Advance = Callable[[int], None]
Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Questions:
    """Samples, and what a model must be run on to answer each of them.

    Args:
        samples: What is asked.
        rows: As many lists, of one row or more.
    """

    samples: list[TaskSample]
    rows: list[list[Row]]

    @property
    def size(self) -> int:
        """How many rows there are in all."""
        return sum(map(len, self.rows))


class Form(ABC):
    """What training and scoring ask of a form.

    Attributes:
        collator: Makes batches of rows, for training and for scoring.
        certainty_name: What `certainty` is called.
    """

    collator: Collator
    certainty_name = "likelihood"

    @abstractmethod
    def train_rows(self, sample: TaskSample) -> list[Row]:
        """What a sample teaches: a row, or one for each candidate or piece of a text."""

    @abstractmethod
    def choice_rows(self, sample: TaskSample) -> list[Row]:
        """What the model must be run on, to answer a sample."""

    @abstractmethod
    def row_scores(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """What a batch of such rows scores, [b], [b, c] or, token by token, [b, n, c]."""

    @abstractmethod
    def answer(self, sample: TaskSample, rows: list[Row], scores: list[Tensor]) -> Any:
        """The answer to a sample, by what each of its rows scores."""

    @abstractmethod
    def metrics(self, samples: Sequence[TaskSample], answers: Sequence[Any]) -> Metrics:
        """How well samples with right answers were answered: by task, `score` among the figures."""

    @abstractmethod
    def certainty(self, samples: Sequence[TaskSample], answers: Sequence[Any]) -> float:
        """From 0 to 1, what tells checkpoints of one score apart."""

    @abstractmethod
    def told(self, sample: TaskSample, answer: Any) -> dict[str, Any]:
        """An answer as a file of answers has it, `prediction` first."""

    def classes(self, samples: Sequence[TaskSample], answers: Sequence[Any]) -> ByClass:
        """The answers label by label, where a sample has one; see `by_class`."""
        return {}

    def questions(self, samples: Sequence[TaskSample]) -> Questions:
        """Encode what samples ask, once."""
        return Questions(list(samples), [self.choice_rows(sample) for sample in samples])

    def answers(
        self, model: Any, questions: Questions, *, batch_size: int, advance: Advance | None = None
    ) -> list[Any]:
        """Let a model answer questions.

        Args:
            model: A model with prompts.
            questions: Of the tasks that the form is for.
            batch_size: Rows that go through the model at a time.
            advance: Told after each batch how many rows it had.

        Returns:
            An answer to each.
        """
        rows = [row for found in questions.rows for row in found]
        scores: list[Tensor] = [torch.empty(0)] * len(rows)
        with scoring(model):
            for places, batch in batches(rows, self.collator, batch_size, device_of(model)):
                for place, score in zip(places, self.row_scores(model, batch).cpu(), strict=True):
                    scores[place] = score
                if advance is not None:
                    advance(len(places))
        found, start = [], 0
        for sample, own in zip(questions.samples, questions.rows, strict=True):
            found.append(self.answer(sample, own, scores[start : start + len(own)]))
            start += len(own)
        return found


def batches(
    rows: Sequence[Row], collator: Collator, batch_size: int, device: torch.device
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Batches of rows of like length, the longest first, and where each row stood."""
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]["input_ids"]))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        batch = collator([rows[place] for place in places])
        yield places, {name: tensor.to(device) for name, tensor in batch.items()}


@contextmanager
def scoring(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and back."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def device_of(model: nn.Module) -> torch.device:
    """Where a model computes."""
    return next(model.parameters()).device

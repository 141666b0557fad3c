"""How a model is asked and how its answers are read: as a class, or in words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tokenseek_common.data import TaskSample

FormName = Literal["classification", "text-to-text"]
"""Whether a model chooses among labels or writes its answer."""
Row = dict[str, Any]
Collator = Callable[[list[Row]], dict[str, Tensor]]
Advance = Callable[[int], None]


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
    """

    collator: Collator

    @abstractmethod
    def train_rows(self, sample: TaskSample) -> list[Row]:
        """What a sample teaches: a row, or one for each candidate."""

    @abstractmethod
    def choice_rows(self, sample: TaskSample) -> list[Row]:
        """What the model must be run on, to choose an answer of a sample."""

    @abstractmethod
    def row_scores(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """What a batch of such rows scores, [b] or [b, c]."""

    @abstractmethod
    def choice_scores(self, sample: TaskSample, scores: Tensor) -> Tensor:
        """What each choice of a sample scores, [c], by the scores of the sample's rows."""

    def questions(self, samples: Sequence[TaskSample]) -> Questions:
        """Encode what samples ask, once."""
        return Questions(list(samples), [self.choice_rows(sample) for sample in samples])

    def choose(
        self, model: Any, questions: Questions, *, batch_size: int, advance: Advance | None = None
    ) -> list[int]:
        """Choose an answer to every question, the likeliest; see `likelihoods`.

        Returns:
            The index of a choice for each sample.
        """
        found = self.likelihoods(model, questions, batch_size=batch_size, advance=advance)
        return [int(each.argmax()) for each in found]

    def likelihoods(
        self, model: Any, questions: Questions, *, batch_size: int, advance: Advance | None = None
    ) -> list[Tensor]:
        """Ask a model how likely it holds each choice of every question.

        Args:
            model: A model with prompts.
            questions: Of the tasks that the form is for.
            batch_size: Rows that go through the model at a time.
            advance: Told after each batch how many rows it had.

        Returns:
            For each sample as many numbers as it has choices, which sum to one.
        """
        rows = [row for found in questions.rows for row in found]
        scores: list[Tensor] = [torch.empty(0)] * len(rows)
        with scoring(model):
            for places, batch in batches(rows, self.collator, batch_size, device_of(model)):
                for place, score in zip(places, self.row_scores(model, batch).cpu(), strict=True):
                    scores[place] = score
                if advance is not None:
                    advance(len(places))
        parts = torch.stack(scores).split([len(found) for found in questions.rows])
        pairs = zip(questions.samples, parts, strict=True)
        return [self.choice_scores(sample, part).softmax(0) for sample, part in pairs]


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

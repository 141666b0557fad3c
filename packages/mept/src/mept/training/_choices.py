"""Answers that are chosen: one of the labels of a task, or of what each sample brings along."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from mept.training._by_class import ByClass, by_class
from mept.training._forms import Advance, Form, Metrics, Questions, Row
from tokenseek_common.data import TaskSample, score_predictions


class ChoiceForm(Form):
    """A form in which a model says how likely it holds each choice."""

    @abstractmethod
    def choice_scores(self, sample: TaskSample, scores: Tensor) -> Tensor:
        """What each choice of a sample scores, [c], by the scores of the sample's rows."""

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
        return self.answers(model, questions, batch_size=batch_size, advance=advance)

    def answer(self, sample: TaskSample, rows: list[Row], scores: list[Tensor]) -> Tensor:
        """How likely each choice is, [c]."""
        return self.choice_scores(sample, torch.stack(scores)).softmax(0)

    def metrics(self, samples: Sequence[TaskSample], answers: Sequence[Any]) -> Metrics:
        """The official metrics of the likeliest choices."""
        return score_predictions(samples, _likeliest(answers))

    def certainty(self, samples: Sequence[TaskSample], answers: Sequence[Any]) -> float:
        """How likely what is right is held, averaged over samples."""
        return fmean(
            sum(
                float(share)
                for choice, share in zip(sample.choices, found, strict=True)
                if choice in sample.answers
            )
            for sample, found in zip(samples, answers, strict=True)
        )

    def classes(self, samples: Sequence[TaskSample], answers: Sequence[Any]) -> ByClass:
        """The likeliest choices label by label."""
        return by_class(samples, _likeliest(answers))

    def told(self, sample: TaskSample, answer: Any) -> dict[str, Any]:
        """The likeliest choice, and how likely each is."""
        scores = dict(zip(sample.choices, answer.tolist(), strict=True))
        return {"prediction": sample.choices[int(answer.argmax())], "scores": scores}


def _likeliest(answers: Sequence[Tensor]) -> list[int]:
    return [int(each.argmax()) for each in answers]

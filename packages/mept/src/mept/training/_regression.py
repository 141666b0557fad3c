"""Answers as numbers: a head with one output, trained by the squared error."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, cast

from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from mept.training._classification import encoded_row
from mept.training._forms import Collator, Form, Metrics, Row
from tokenseek_common.data import (
    PairTokenizer,
    TaskSample,
    encode_classification,
    pearson,
    spearman,
)


class RegressionForm(Form):
    """A head that tells a number for one text, or for two.

    Args:
        tokenizer: A fast tokenizer with a padding token.
        max_length: Most tokens of a row.
        prefixed: Whether the name of the task stands before the text.
    """

    certainty_name = "closeness"

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, max_length: int, prefixed: bool
    ) -> None:
        self.tokenizer = cast(PairTokenizer, tokenizer)
        self.max_length = max_length
        self.prefixed = prefixed
        self.collator = cast(Collator, DataCollatorWithPadding(tokenizer))

    def train_rows(self, sample: TaskSample) -> list[Row]:
        """The text with its number."""
        return [row | {"labels": float(sample.answers[0])} for row in self.choice_rows(sample)]

    def choice_rows(self, sample: TaskSample) -> list[Row]:
        """The text."""
        example = encode_classification(
            sample, self.tokenizer, max_length=self.max_length, prefixed=self.prefixed
        )
        return [encoded_row(example)]

    def row_scores(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """The numbers, [b]."""
        logits: Tensor = model(**batch).logits
        return logits[:, 0].float()

    def answer(self, sample: TaskSample, rows: list[Row], scores: list[Tensor]) -> float:
        """The number."""
        return float(scores[0])

    def metrics(self, samples: Sequence[TaskSample], answers: Sequence[Any]) -> Metrics:
        """Both correlations and the mean squared error; the score is the mean of the former.

        Source: Wang et al., "GLUE", 2019, https://arxiv.org/abs/1804.07461, on STS-B.
        """
        right = [float(sample.answers[0]) for sample in samples]
        found = {"pearson": pearson(answers, right), "spearman": spearman(answers, right)}
        figures = {"mse": _squared_error(samples, answers), "score": fmean(found.values())}
        return {samples[0].task.name: found | figures}

    def certainty(self, samples: Sequence[TaskSample], answers: Sequence[Any]) -> float:
        """1 over 1 and the mean squared error."""
        return 1 / (1 + _squared_error(samples, answers))

    def told(self, sample: TaskSample, answer: Any) -> dict[str, Any]:
        """The number."""
        return {"prediction": answer}


def _squared_error(samples: Sequence[TaskSample], answers: Sequence[float]) -> float:
    pairs = zip(samples, answers, strict=True)
    return fmean((found - float(sample.answers[0])) ** 2 for sample, found in pairs)

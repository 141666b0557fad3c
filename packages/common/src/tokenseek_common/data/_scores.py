"""Predictions for samples to the official scores of their tasks."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from statistics import fmean
from typing import SupportsIndex

from tokenseek_common._errors import InputError
from tokenseek_common.data._metrics import (
    accuracy,
    answer_exact_match,
    answer_f1,
    macro_f1,
    multirc_exact_match,
    multirc_f1a,
)
from tokenseek_common.data._tasks import TaskSample, label_key


def score_predictions(
    samples: Sequence[TaskSample], predictions: Sequence[SupportsIndex | str]
) -> dict[str, dict[str, float]]:
    """Score predictions by the official metrics, each task by itself.

    Args:
        samples: Of one task or of several; all with known answers.
        predictions: For each sample the index of a choice (classification, or the choice ranked
            highest) or what was written (generation). Writing counts for a label if it is the
            label but for case and the marks around; anything else is wrong.

    Returns:
        For each task its metrics, ``accuracy``; ``accuracy`` and ``macro_f1`` (CB); ``f1a`` and
        ``exact_match`` (MultiRC); ``f1`` and ``exact_match`` (ReCoRD), each between 0 and 1; and
        ``score``, their mean, which is what SuperGLUE averages over tasks.

    Raises:
        InputError: If there are no samples, not as many predictions, a sample without answers or
            an index that is none of the choices.

    Example:
        >>> score_predictions(samples, [1, 0, 1])
        {'boolq': {'accuracy': 0.67, 'score': 0.67}}
    """
    if not samples or len(predictions) != len(samples):
        raise InputError(
            f"predictions ({len(predictions)}) must be as many as samples ({len(samples)}), "
            "at least one; give one for each"
        )
    by_task: dict[str, list[tuple[TaskSample, int | str]]] = {}
    for position, (sample, given) in enumerate(zip(samples, predictions, strict=True)):
        prediction = given if isinstance(given, str) else index(given)
        _check(position, sample, prediction)
        by_task.setdefault(sample.task.name, []).append((sample, prediction))
    scores = {}
    for name, answered in by_task.items():
        written = answered[0][0].task.metrics == "record"
        metrics = _answered_in_words(answered) if written else _classified(answered)
        scores[name] = {**metrics, "score": fmean(metrics.values())}
    return scores


def _check(position: int, sample: TaskSample, prediction: int | str) -> None:
    if not sample.answers:
        raise InputError(
            f"samples[{position}].answers (none) must be known to be scored; "
            "choose a split with labels"
        )
    if isinstance(prediction, int) and not 0 <= prediction < len(sample.choices):
        raise InputError(
            f"predictions[{position}] ({prediction}) must be an index below "
            f"{len(sample.choices)}; predict one of the choices"
        )


def _classified(answered: Sequence[tuple[TaskSample, int | str]]) -> dict[str, float]:
    samples = [sample for sample, _ in answered]
    labels = [sample.choices.index(sample.answers[0]) for sample in samples]
    predictions = [_class_of(sample, prediction) for sample, prediction in answered]
    match samples[0].task.metrics:
        case "cb":
            return {
                "accuracy": accuracy(predictions, labels),
                "macro_f1": macro_f1(predictions, labels),
            }
        case "multirc":
            questions = [(sample.group, sample.question) for sample in samples]
            return {
                "f1a": multirc_f1a(predictions, labels),
                "exact_match": multirc_exact_match(predictions, labels, questions),
            }
        case _:
            return {"accuracy": accuracy(predictions, labels)}


def _answered_in_words(answered: Sequence[tuple[TaskSample, int | str]]) -> dict[str, float]:
    written = [
        (sample.choices[prediction] if isinstance(prediction, int) else prediction, sample.answers)
        for sample, prediction in answered
    ]
    return {
        "f1": fmean(answer_f1(text, answers) for text, answers in written),
        "exact_match": fmean(answer_exact_match(text, answers) for text, answers in written),
    }


def _class_of(sample: TaskSample, prediction: int | str) -> int:
    """The class that a prediction means; -1 for what was written and is none."""
    if isinstance(prediction, int):
        return prediction
    keys = [label_key(choice) for choice in sample.choices]
    return keys.index(label_key(prediction)) if label_key(prediction) in keys else -1

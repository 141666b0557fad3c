"""Answers label by label, since one number says little of a set that is mostly of one label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenseek_common.cli import Console
from tokenseek_common.data import TaskSample

ByClass = dict[str, dict[str, Any]]


def by_class(samples: Sequence[TaskSample], choices: Sequence[int]) -> ByClass:
    """Count answers by the right label and the one that was chosen.

    Args:
        samples: With right answers; those of tasks without fixed labels are left out.
        choices: The index of the label that was chosen for each.

    Returns:
        For each task its `labels`; the `confusion` matrix, a row for each right label and a column
        for each chosen one; and by label the `precision`, `recall` and `f1`, 0 where a label was
        never chosen or never right.

    Example:
        >>> by_class(samples, [0, 1, 1])["mood"]["confusion"]
        [[1, 1], [0, 1]]
    """
    found: ByClass = {}
    for sample, choice in zip(samples, choices, strict=True):
        labels = sample.task.labels
        if not labels or sample.label is None:
            continue
        empty = {"labels": list(labels), "confusion": [[0] * len(labels) for _ in labels]}
        found.setdefault(sample.task.name, empty)["confusion"][sample.label][choice] += 1
    for counted in found.values():
        matrix = counted["confusion"]
        right = [row[place] for place, row in enumerate(matrix)]
        chosen, there = (
            [sum(column) for column in zip(*matrix, strict=True)],
            list(map(sum, matrix)),
        )
        counted["precision"] = [_share(*pair) for pair in zip(right, chosen, strict=True)]
        counted["recall"] = [_share(*pair) for pair in zip(right, there, strict=True)]
        counted["f1"] = [
            _share(2 * hits, claimed + count)
            for hits, claimed, count in zip(right, chosen, there, strict=True)
        ]
    return found


def tell_by_class(found: ByClass, console: Console) -> None:
    """Print a table for each task."""
    for task, counted in found.items():
        console.table(
            f"{task}, by its labels: scores, and how often each was chosen",
            ["right label", "samples", "precision", "recall", "F1", *counted["labels"]],
            [
                [
                    label,
                    sum(counted["confusion"][place]),
                    *(counted[figure][place] for figure in ("precision", "recall", "f1")),
                    *counted["confusion"][place],
                ]
                for place, label in enumerate(counted["labels"])
            ],
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0

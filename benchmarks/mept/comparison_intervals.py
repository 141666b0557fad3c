"""How sure a difference is: the paired bootstrap over samples that were scored.

Shapes: `r` resamples, `s` seeds, `n` samples, `c` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

RESAMPLES = 2000
LEVEL = 0.95


class Answered(NamedTuple):
    """What one method chose on the samples of one task, and what was right.

    Args:
        choices: A line of digits for each seed.
        answers: The right ones, in digits.
        macro_f1: Whether the score is the mean of accuracy and macro-F1, as CB has it.
    """

    choices: list[str]
    answers: str
    macro_f1: bool


def difference(
    ours: Mapping[str, Answered], theirs: Mapping[str, Answered]
) -> tuple[float, float, float]:
    """By how much our mean score over tasks is higher, and the ends of its interval.

    Samples are drawn anew with replacement, of each task as many as it has, the same for both
    methods and all seeds; seeds are averaged.

    Source: Koehn, "Statistical Significance Tests for Machine Translation Evaluation" (2004).
    """
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(RESAMPLES + 1)
    for task, answered in ours.items():
        n = len(answered.answers)
        drawn = torch.randint(n, (RESAMPLES, n), generator=generator)
        drawn = torch.cat([torch.arange(n)[None], drawn])  # the first is what was scored
        total += mean_scores(answered, drawn) - mean_scores(theirs[task], drawn)
    found, resampled = total[0] / len(ours), total[1:] / len(ours)
    low, high = resampled.quantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return float(found), float(low), float(high)


def mean_scores(answered: Answered, drawn: Int[Tensor, "r n"]) -> Float[Tensor, " r"]:
    """The score of each resample, averaged over seeds."""
    right = torch.tensor([int(digit) for digit in answered.answers])[drawn]  # [r, n]
    scores = []
    for line in answered.choices:
        chosen = torch.tensor([int(digit) for digit in line])[drawn]  # [r, n]
        score = (chosen == right).float().mean(1)
        scores.append((score + macro_f1(chosen, right)) / 2 if answered.macro_f1 else score)
    return torch.stack(scores).mean(0)


def macro_f1(chosen: Int[Tensor, "r n"], right: Int[Tensor, "r n"]) -> Float[Tensor, " r"]:
    """F1 averaged over the classes that occur in a resample, among choices or answers."""
    classes = torch.arange(max(int(chosen.max()), int(right.max())) + 1)
    chose, was = (x[..., None] == classes for x in (chosen, right))  # [r, n, c]
    claimed = chose.sum(1) + was.sum(1)  # [r, c]
    f1 = 2 * (chose & was).sum(1) / claimed.clamp(min=1)
    return f1.sum(1) / (claimed > 0).sum(1)

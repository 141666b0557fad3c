"""How well numbers go with others: by their values, and by their ranks."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import StatisticsError, correlation

from tokenseek_common._errors import InputError


def pearson(predictions: Sequence[float], answers: Sequence[float]) -> float:
    """Pearson's correlation of predictions and answers.

    Args:
        predictions: Numbers.
        answers: The right ones.

    Returns:
        Between -1 and 1; 0 where all predictions or all answers are alike.

    Raises:
        InputError: There are none, or not as many of both.

    Example:
        >>> pearson([1.0, 2.0, 3.0], [10.0, 20.0, 30.0])
        1.0
    """
    if not answers or len(predictions) != len(answers):
        raise InputError(
            f"predictions ({len(predictions)}) must be as many as answers ({len(answers)}), at "
            "least one; give one for each"
        )
    try:
        return correlation(predictions, answers)
    except StatisticsError:  # of one pair, or of numbers that are all alike, nothing can be said
        return 0.0


def spearman(predictions: Sequence[float], answers: Sequence[float]) -> float:
    """Spearman's correlation: Pearson's of the ranks, of equal numbers their mean rank.

    Args:
        predictions: Numbers.
        answers: The right ones.

    Returns:
        Between -1 and 1; 0 where all predictions or all answers are alike.

    Raises:
        InputError: There are none, or not as many of both.

    Example:
        >>> spearman([1.0, 2.0, 9.0], [10.0, 20.0, 30.0])
        1.0
    """
    return pearson(_ranks(predictions), _ranks(answers))


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    places: dict[float, list[int]] = {}
    for place, value in enumerate(ordered):
        places.setdefault(value, []).append(place)
    return [sum(places[value]) / len(places[value]) for value in values]

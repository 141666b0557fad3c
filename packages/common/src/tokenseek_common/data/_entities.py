"""Entities among the labels of words, and how many were found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tokenseek_common._errors import InputError


class Entity(NamedTuple):
    """A run of words that is one thing.

    Args:
        kind: What it is, such as PER.
        start: Its first word.
        end: The one behind its last.
    """

    kind: str
    start: int
    end: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """Read the entities off labels of the form ``O``, ``B-PER``, ``I-PER``.

    One begins at every ``B-``, and at an ``I-`` behind ``O`` or behind another kind.

    Args:
        tags: The label of each word.

    Returns:
        The entities in their order.

    Example:
        >>> entities(["B-PER", "I-PER", "O", "I-LOC"])
        [Entity(kind='PER', start=0, end=2), Entity(kind='LOC', start=3, end=4)]

    Source: Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 Shared Task", 2003.
    """
    found: list[Entity] = []
    for place, tag in enumerate(tags):
        mark, _, kind = tag.partition("-")
        if mark not in ("B", "I"):
            continue
        last = found[-1] if found else None
        if mark == "I" and last is not None and (last.kind, last.end) == (kind, place):
            found[-1] = last._replace(end=place + 1)
        else:
            found.append(Entity(kind, place, place + 1))
    return found


def entity_f1(predictions: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> float:
    """F1 of the entities of all texts: one is found if its kind and both its ends are right.

    Args:
        predictions: Of each text, a label for each word.
        answers: The right ones.

    Returns:
        Between 0 and 1; 1 where there are none and none was claimed.

    Raises:
        InputError: There are no texts, not as many of both, or not as many words.

    Example:
        >>> entity_f1([["B-PER", "O", "B-LOC"]], [["B-PER", "O", "O"]])
        0.6666666666666666

    Source: Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 Shared Task", 2003.
    """
    if not answers or list(map(len, predictions)) != list(map(len, answers)):
        raise InputError(
            f"predictions (of {len(predictions)} texts) must be as many as answers "
            f"({len(answers)}), word by word and at least one; give one for each"
        )
    claimed, there = (
        {(text, *entity) for text, tags in enumerate(texts) for entity in entities(tags)}
        for texts in (predictions, answers)
    )
    total = len(claimed) + len(there)
    return 2 * len(claimed & there) / total if total else 1.0

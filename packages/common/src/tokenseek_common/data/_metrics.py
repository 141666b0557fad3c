"""The official metrics of SuperGLUE, from their definitions.

Predictions are compared with labels as whole numbers; a negative prediction stands for an answer
that is none of the classes, and is wrong.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Hashable, Sequence
from statistics import fmean

from tokenseek_common._errors import InputError

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def accuracy(predictions: Sequence[int], labels: Sequence[int]) -> float:
    """The share of predictions that are right.

    Args:
        predictions: Class indices.
        labels: The right ones.

    Returns:
        Between 0 and 1.

    Raises:
        InputError: If there are none, or not as many of both.

    Example:
        >>> accuracy([1, 0, 1, -1], [1, 1, 1, 0])
        0.5
    """
    _check(predictions, labels)
    return fmean(found == label for found, label in zip(predictions, labels, strict=True))


def macro_f1(predictions: Sequence[int], labels: Sequence[int]) -> float:
    """The mean over classes of F1 = 2 TP / (2 TP + FP + FN), each class weighing the same.

    Args:
        predictions: Class indices.
        labels: The right ones.

    Returns:
        Between 0 and 1. The classes are those that occur among predictions or labels.

    Raises:
        InputError: If there are none, or not as many of both.

    Example:
        >>> macro_f1([0, 0, 1], [0, 1, 1])
        0.6666666666666666

    Source: Wang et al., 2019, https://arxiv.org/abs/1905.00537, section 3.2, on CB.
    """
    _check(predictions, labels)
    classes = {index for index in (*predictions, *labels) if index >= 0}
    return fmean(_f1(predictions, labels, index) for index in classes)


def multirc_f1a(predictions: Sequence[int], labels: Sequence[int]) -> float:
    """F1 of "this answer is right" over all answers of all questions of MultiRC.

    Args:
        predictions: For each answer, 1 if it is taken to be right.
        labels: For each answer, 1 if it is right.

    Returns:
        Between 0 and 1; 0 where no right answer was found.

    Raises:
        InputError: If there are none, or not as many of both.

    Example:
        >>> multirc_f1a([1, 1, 0], [1, 0, 0])
        0.6666666666666666

    Source: Khashabi et al., "Looking Beyond the Surface", NAACL 2018, section 5.
    """
    _check(predictions, labels)
    return _f1(predictions, labels, 1)


def multirc_exact_match(
    predictions: Sequence[int], labels: Sequence[int], questions: Sequence[Hashable]
) -> float:
    """The share of questions of MultiRC with every answer told right from wrong.

    Args:
        predictions: For each answer, 1 if it is taken to be right.
        labels: For each answer, 1 if it is right.
        questions: For each answer, which question it belongs to.

    Returns:
        Between 0 and 1.

    Raises:
        InputError: If there are none, or not as many of each.

    Example:
        >>> multirc_exact_match([1, 0, 1], [1, 0, 0], ["q1", "q1", "q2"])
        0.5

    Source: Khashabi et al., "Looking Beyond the Surface", NAACL 2018, section 5.
    """
    _check(predictions, labels)
    _check(questions, labels, name="questions")
    missed = {
        question
        for prediction, label, question in zip(predictions, labels, questions, strict=True)
        if prediction != label
    }
    asked = set(questions)
    return (len(asked) - len(missed)) / len(asked)


def normalize_answer(text: str) -> str:
    """What of an answer counts: neither case, ASCII punctuation, English articles nor spacing.

    Args:
        text: An answer.

    Returns:
        The rest of it.

    Example:
        >>> normalize_answer("The  U.S. Senate!")
        'us senate'

    Source: Rajpurkar et al., "SQuAD", 2016, https://arxiv.org/abs/1606.05250, section 6.1; ReCoRD
    compares in the same way.
    """
    marked_off = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", marked_off).split())


def answer_exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if a prediction is one of the right answers, once all are normalised; else 0.

    Args:
        prediction: What a model wrote.
        answers: The right answers, any of which will do.

    Returns:
        0 or 1.

    Raises:
        InputError: If there are no right answers.

    Example:
        >>> answer_exact_match("the Senate", ["U.S. Senate", "Senate"])
        1.0

    Source: Zhang et al., "ReCoRD", 2018, https://arxiv.org/abs/1810.12885, section 4.
    """
    _check_answers(answers)
    found = normalize_answer(prediction)
    return float(any(found == normalize_answer(answer) for answer in answers))


def answer_f1(prediction: str, answers: Sequence[str]) -> float:
    """F1 of the words of a prediction, normalised, for the right answer that it is closest to.

    Args:
        prediction: What a model wrote.
        answers: The right answers.

    Returns:
        Between 0 and 1, the highest over the answers; 0 where not a word is shared.

    Raises:
        InputError: If there are no right answers.

    Example:
        >>> answer_f1("US Senate", ["Senate", "Congress"])
        0.6666666666666666

    Source: Zhang et al., "ReCoRD", 2018, https://arxiv.org/abs/1810.12885, section 4.
    """
    _check_answers(answers)
    found = Counter(normalize_answer(prediction).split())
    return max(_overlap(found, Counter(normalize_answer(answer).split())) for answer in answers)


def _overlap(found: Counter[str], wanted: Counter[str]) -> float:
    shared = (found & wanted).total()
    return 2 * shared / (found.total() + wanted.total()) if shared else 0.0


def _f1(predictions: Sequence[int], labels: Sequence[int], index: int) -> float:
    pairs = list(zip(predictions, labels, strict=True))
    found = sum(prediction == label == index for prediction, label in pairs)
    claimed = sum(prediction == index for prediction, _ in pairs)
    there = sum(label == index for _, label in pairs)
    return 2 * found / (claimed + there) if found else 0.0


def _check(given: Sequence[object], labels: Sequence[int], *, name: str = "predictions") -> None:
    if not labels or len(given) != len(labels):
        raise InputError(
            f"{name} ({len(given)}) must be as many as labels ({len(labels)}), at least one; "
            "give one for each"
        )


def _check_answers(answers: Sequence[str]) -> None:
    if not answers:
        raise InputError("answers (0) must be at least one; leave unanswered samples out")

"""A sample as text: input and target for a model that writes, text or pair for a classifier."""

from __future__ import annotations

from dataclasses import dataclass

from tokenseek_common._errors import InputError
from tokenseek_common.data._tasks import TaskSample


@dataclass(frozen=True)
class TextToText:
    """A sample for a model that writes its answer.

    Args:
        input: The name of the task, then each field with its name.
        target: What is to be written; None where it is unknown.
    """

    input: str
    target: str | None


@dataclass(frozen=True)
class ClassificationText:
    """A sample for a model that chooses a class.

    Args:
        text: What is read.
        text_pair: The second text; None where there is one only.
        label: The index of the class; None where it is unknown.
    """

    text: str
    text_pair: str | None
    label: int | None


def render_text_to_text(sample: TaskSample) -> TextToText:
    """Write a sample out in the text-to-text form, ``<task> <field>: <text> <field>: <text>``.

    Args:
        sample: Of any task. A long text comes last, so that the question stands in front of it.

    Returns:
        The input, which names the task, and the target.

    Example:
        >>> render_text_to_text(sample)
        TextToText(input='boolq question: is it wet passage: It rains.', target='True')

    Source: Raffel et al., 2020, https://arxiv.org/abs/1910.10683, appendix D.
    """
    fields = _named(sample, sample.task.fields)
    return TextToText(f"{sample.task.name} {fields}", sample.target)


def render_classification(sample: TaskSample) -> ClassificationText:
    """Write a sample out for a classifier.

    Args:
        sample: Of a task with fixed labels, or of one with numbers.

    Returns:
        One text or two, of each the fields of that side of the task, and the label. Where a side
        has several fields each stands behind its name.

    Raises:
        InputError: If the choices differ from sample to sample, as those of ReCoRD do.

    Example:
        >>> render_classification(sample)
        ClassificationText(text='is it wet', text_pair='It rains.', label=1)
    """
    task = sample.task
    if not task.labels and task.layout != "number":
        raise InputError(
            f"task ({task.name}) must have fixed labels to be classified; "
            "score each choice with render_candidates, or use the text-to-text form"
        )
    text, *others = (
        sample.texts[side[0]] if len(side) == 1 else _named(sample, side) for side in task.sides
    )
    return ClassificationText(text, others[0] if others else None, sample.label)


def render_candidates(sample: TaskSample) -> list[ClassificationText]:
    """Write a sample of ReCoRD out as one pair a candidate, to be told right from wrong.

    Args:
        sample: A query with the entities of its passage.

    Returns:
        For each choice, in order, the passage and the query with the choice in its gap; label 1
        where it is a right answer, 0 where it is not, None where the answers are unknown. The
        prediction for the sample is the index of the pair that scores highest.

    Raises:
        InputError: If the sample is of a task with fixed labels.

    Example:
        >>> [pair.label for pair in render_candidates(sample)]
        [0, 1, 0]
    """
    if sample.task.labels:
        raise InputError(
            f"task ({sample.task.name}) must have choices that differ from sample to sample; "
            "use render_classification"
        )
    return [
        ClassificationText(
            sample.texts["passage"],
            sample.texts["query"].replace("@placeholder", choice),
            int(choice in sample.answers) if sample.answers else None,
        )
        for choice in sample.choices
    ]


def _named(sample: TaskSample, fields: tuple[str, ...]) -> str:
    return " ".join(f"{field}: {sample.texts[field]}" for field in fields)

"""What a task is: the texts of its samples, its labels, which text is long, how it is scored."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tokenseek_common._errors import InputError

Layout: TypeAlias = Literal["flat", "wsc", "multirc", "record", "words", "number", "span"]
Metrics: TypeAlias = Literal["accuracy", "cb", "multirc", "record"]


@dataclass(frozen=True)
class Task:
    """One task, whatever file or model its samples go through.

    Args:
        name: What it is called, and the prefix of the text-to-text form.
        fields: The texts of a sample in the order of the text-to-text form.
        labels: What a model writes for each class (the verbaliser), in the order of their indices;
            empty where each sample brings its own choices.
        sides: The fields of the one text, or of the two, that a classifier reads.
        long_field: The field that may be shortened to fit a model; None where each is needed whole.
        metrics: Which official metrics score it.
        layout: How its rows are nested in the official files; or what stands in place of a label:
            one for each of the words, a number, or a span of a text.
        folder: Its folder in the official archive.
        label_field: Where a row holds its label.
        aliases: Fields under another name, as (found, meant): GLUE names those of RTE differently.

    Raises:
        InputError: If there are fewer than two labels, or two that differ in nothing but case and
            the marks around them; or if a field is named twice or as the label is.

    Example:
        >>> TASKS["cb"].labels
        ('entailment', 'contradiction', 'neutral')
    """

    name: str
    fields: tuple[str, ...]
    labels: tuple[str, ...]
    sides: tuple[tuple[str, ...], ...]
    long_field: str | None = None
    metrics: Metrics = "accuracy"
    layout: Layout = "flat"
    folder: str = ""
    label_field: str = "label"
    aliases: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        names = (*self.fields, self.label_field)
        if not self.fields or len(set(names)) < len(names):
            raise InputError(
                f"fields ({', '.join(names)}) must be at least one text and the label, each named "
                "once; rename the fields"
            )
        if self.layout in ("record", "number", "span"):
            return
        # Tags of words differ in marks alone, such as PRP and PRP$.
        key = str if self.layout == "words" else label_key
        keys = [key(label) for label in self.labels]
        if len(keys) < 2 or "" in keys or len(set(keys)) < len(keys):
            raise InputError(
                f"labels ({', '.join(self.labels)}) must be two words or more that differ in more "
                "than case and punctuation; rename them"
            )


@dataclass(frozen=True)
class TaskSample:
    """One thing to answer.

    Args:
        task: What is asked.
        texts: The text of each field.
        choices: What may be answered: the labels of the task, or the entities of a passage.
        answers: The right answers, the first of which is learnt; empty where they are unknown. Of
            words, the label of each.
        group: What it shares with other samples (the paragraph of a question): no split may part
            them. Empty where it stands alone.
        question: Which question of its group it belongs to.
        starts: Of answers that are spans of a text, where each begins, in characters.

    Example:
        >>> task = TASKS["boolq"]
        >>> texts = {"question": "is it wet", "passage": "It rains."}
        >>> TaskSample(task, texts, task.labels, ("True",)).label
        1
    """

    task: Task
    texts: Mapping[str, str]
    choices: tuple[str, ...]
    answers: tuple[str, ...] = ()
    group: str = ""
    question: str = ""
    starts: tuple[int, ...] = ()

    @property
    def label(self) -> int | None:
        """The index of the first right answer that is among the choices; None if it is unknown."""
        right = (self.choices.index(answer) for answer in self.answers if answer in self.choices)
        return next(right, None)

    @property
    def target(self) -> str | None:
        """What a model is to write; None if it is unknown."""
        return self.answers[0] if self.answers else None


def label_key(text: str) -> str:
    """What of a label counts when it is compared: neither case nor the marks and spaces around."""
    return text.strip(string.whitespace + string.punctuation).casefold()

"""The tasks that are known by name, and how to describe another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from tokenseek_common._errors import InputError
from tokenseek_common.data._tasks import Task


def find_task(name: str) -> Task:
    """A known task by its name, in any case.

    Args:
        name: One of `TASKS`.

    Returns:
        The task.

    Raises:
        InputError: If the name is unknown.

    Example:
        >>> find_task("BoolQ").fields
        ('question', 'passage')
    """
    if name.lower() not in TASKS:
        raise InputError(
            f"task ({name}) must be one of {', '.join(TASKS)}; choose one of them, or describe "
            "your own with labelled_text_task"
        )
    return TASKS[name.lower()]


def labelled_text_task(
    name: str,
    labels: Sequence[str],
    *,
    text_fields: Sequence[str] = ("text",),
    label_field: str = "label",
) -> Task:
    """Describe a task of one text, or of two, and one label.

    Args:
        name: What to call it.
        labels: What a model writes for each class, in the order of their indices in the files.
        text_fields: Which fields of a row are its texts; of two, the first is the one that may be
            shortened.
        label_field: Which field is its label, in words or by index.

    Returns:
        The task, for `load_task`.

    Raises:
        InputError: As `Task` has it, or if there are more than two texts.

    Example:
        >>> labelled_text_task("polarity", ["bad", "good"], text_fields=["review"]).long_field
        'review'
    """
    fields = tuple(text_fields)
    if len(fields) > 2:
        raise InputError(f"text_fields ({', '.join(fields)}) must be one or two; leave some out")
    return Task(
        name=name,
        fields=fields,
        labels=tuple(labels),
        sides=tuple((field,) for field in fields),
        long_field=fields[0] if fields else None,
        label_field=label_field,
    )


def tagged_words_task(
    name: str, labels: Sequence[str], *, words_field: str = "text", label_field: str = "label"
) -> Task:
    """Describe a task of words and a label for each, such as the names of persons among them.

    Args:
        name: What to call it.
        labels: All labels of words, in the order of their indices in the files.
        words_field: Which field of a row is its words: a list, or text with spaces between them.
        label_field: Which field is their labels, one a word: a list, or text likewise.

    Returns:
        The task, for `load_task`.

    Raises:
        InputError: As `Task` has it.

    Example:
        >>> tagged_words_task("names", ["O", "B-PER", "I-PER"]).layout
        'words'
    """
    return Task(
        name=name,
        fields=(words_field,),
        labels=tuple(labels),
        sides=((words_field,),),
        layout="words",
        label_field=label_field,
    )


def numbered_text_task(
    name: str, *, text_fields: Sequence[str] = ("text",), label_field: str = "label"
) -> Task:
    """Describe a task of one text, or of two, and a number, such as how alike the two are.

    Args:
        name: What to call it.
        text_fields: Which fields of a row are its texts; of two, the first is the one that may be
            shortened.
        label_field: Which field is its number.

    Returns:
        The task, for `load_task`; the number is the one answer of a sample, as text.

    Raises:
        InputError: As `labelled_text_task`.

    Example:
        >>> numbered_text_task("alike", text_fields=["first", "second"]).layout
        'number'
    """
    texts = labelled_text_task(
        name, ("low", "high"), text_fields=text_fields, label_field=label_field
    )
    return replace(texts, labels=(), layout="number")


def answer_span_task(name: str) -> Task:
    """Describe a task whose answers are spans of a text, in the form of SQuAD.

    A row has ``question``, ``context`` and ``answers``, an object of two lists, ``text`` and
    ``answer_start``.

    Args:
        name: What to call it.

    Returns:
        The task, for `load_task`; no split parts questions of one context.

    Example:
        >>> answer_span_task("squad").fields
        ('question', 'context')

    Source: Rajpurkar et al., "SQuAD", 2016, https://arxiv.org/abs/1606.05250.
    """
    return Task(
        name=name,
        fields=("question", "context"),
        labels=(),
        sides=(("question",), ("context",)),
        layout="span",
        label_field="answers",
    )


_YES_NO = ("False", "True")
_SUPERGLUE = (
    Task(
        name="boolq",
        fields=("question", "passage"),
        labels=_YES_NO,
        sides=(("question",), ("passage",)),
        long_field="passage",
        folder="BoolQ",
    ),
    Task(
        name="cb",
        fields=("hypothesis", "premise"),
        labels=("entailment", "contradiction", "neutral"),
        sides=(("premise",), ("hypothesis",)),
        long_field="premise",
        metrics="cb",
        folder="CB",
    ),
    Task(
        name="copa",
        fields=("choice1", "choice2", "premise", "question"),
        labels=("choice1", "choice2"),
        sides=(("premise", "question"), ("choice1", "choice2")),
        folder="COPA",
    ),
    Task(
        name="multirc",
        fields=("question", "answer", "paragraph"),
        labels=_YES_NO,
        sides=(("paragraph",), ("question", "answer")),
        long_field="paragraph",
        metrics="multirc",
        layout="multirc",
        folder="MultiRC",
    ),
    Task(
        name="record",
        fields=("query", "entities", "passage"),
        labels=(),
        sides=(("passage",), ("query",)),
        long_field="passage",
        metrics="record",
        layout="record",
        folder="ReCoRD",
    ),
    Task(
        name="rte",
        fields=("hypothesis", "premise"),
        labels=("entailment", "not_entailment"),
        sides=(("premise",), ("hypothesis",)),
        long_field="premise",
        folder="RTE",
        aliases=(("sentence1", "premise"), ("sentence2", "hypothesis")),
    ),
    Task(
        name="wic",
        fields=("sentence1", "sentence2", "word"),
        labels=_YES_NO,
        sides=(("sentence1",), ("sentence2", "word")),
        folder="WiC",
    ),
    Task(
        name="wsc",
        fields=("text", "span1_text", "span2_text"),
        labels=_YES_NO,
        sides=(("text",), ("span1_text", "span2_text")),
        layout="wsc",
        folder="WSC",
    ),
)
# In the order of the "label text" files that these sets go about in, which is not that of the hub.
_LABELLED_TEXT = (
    labelled_text_task("sst2", ("negative", "positive")),
    labelled_text_task(
        "sst5", ("very negative", "negative", "neutral", "positive", "very positive")
    ),
    labelled_text_task(
        "trec", ("description", "entity", "abbreviation", "human", "location", "number")
    ),
)
TASKS: Mapping[str, Task] = MappingProxyType(
    {task.name: task for task in (*_SUPERGLUE, *_LABELLED_TEXT)}
)
"""The eight tasks of SuperGLUE, two sentiment treebanks and the questions of TREC, by name.

Source: Wang et al., "SuperGLUE: A Stickier Benchmark for General-Purpose Language Understanding
Systems", 2019, https://arxiv.org/abs/1905.00537; the order of the fields is that of Raffel et al.,
"Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", 2020,
https://arxiv.org/abs/1910.10683, appendix D.
"""

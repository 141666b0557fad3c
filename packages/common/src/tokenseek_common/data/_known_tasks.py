"""The tasks that are known by name, and how to describe another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

"""A row of a task's file, or of the hub, to samples: the official files nest some of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from tokenseek_common._errors import InputError
from tokenseek_common.data._tasks import Layout, Task, TaskSample, label_key
from tokenseek_common.data._values import kind_of, text_value

Row: TypeAlias = Mapping[str, object]

_HIGHLIGHT = re.compile(r"\n@highlight\n")
_HIGHLIGHT_AFTER_MARK = re.compile(r"(?<=[.?!\"'])\n@highlight\n")


def row_samples(task: Task, row: Row) -> Iterator[TaskSample]:
    """The samples of one row: one of most tasks, one a query of ReCoRD, one an answer of MultiRC.

    Raises:
        InputError: If a field is missing, is of another kind, or the label is none of the task's.
    """
    named = {dict(task.aliases).get(name, name): value for name, value in row.items()}
    return _LAYOUTS[task.layout](task, named)


def _flat(task: Task, row: Row) -> Iterator[TaskSample]:
    texts = {field: text_value(value, field) for field, value in _picked(row, *task.fields).items()}
    yield TaskSample(task, texts, task.labels, _answers(task, row))


def _wsc(task: Task, row: Row) -> Iterator[TaskSample]:
    """Marks both spans in the text as T5 does: a pronoun alone may stand there more than once."""
    flat = {**row, **_object(row["target"], "target")} if "target" in row else row
    for sample in _flat(task, flat):
        text = sample.texts["text"]
        for span, mark in (("span1", "*"), ("span2", "#")):
            text = _marked(text, sample.texts[f"{span}_text"], flat.get(f"{span}_index"), mark)
        yield replace(sample, texts={**sample.texts, "text": text})


def _marked(text: str, span: str, index: object, mark: str) -> str:
    """The text with a mark on both sides of the span that begins with word number `index`."""
    words = list(re.finditer(r"\S+", text))
    if isinstance(index, int) and 0 <= index < len(words):
        start = words[index].start()
        if text.startswith(span, start):
            end = start + len(span)
            return f"{text[:start]}{mark}{span}{mark}{text[end:]}"
    return text


def _multirc(task: Task, row: Row) -> Iterator[TaskSample]:
    if "passage" not in row:
        for sample in _flat(task, row):
            place = row.get("idx")
            asked = place.get("question") if isinstance(place, Mapping) else None
            question = sample.texts["question"] if asked is None else str(asked)
            yield replace(sample, group=sample.texts["paragraph"], question=question)
        return
    passage = _picked(_object(row["passage"], "passage"), "text", "questions")
    for number, found in enumerate(_list(passage["questions"], "questions")):
        row = _object(found, f"questions[{number}]")
        asked = _picked(row, "question", "answers")
        question = str(row.get("idx", number))
        for answer in _list(asked["answers"], "answers"):
            proposed = _object(answer, f"questions[{number}].answers")
            flat = {**proposed, "paragraph": passage["text"], "question": asked["question"]}
            flat["answer"] = _picked(proposed, "text")["text"]
            for sample in _flat(task, flat):
                yield replace(sample, group=sample.texts["paragraph"], question=question)


def _record(task: Task, row: Row) -> Iterator[TaskSample]:
    if isinstance(row.get("passage"), Mapping):
        passage = _picked(_object(row["passage"], "passage"), "text", "entities")
        article = text_value(passage["text"], "passage.text")
        queries = _list(_picked(row, "qas")["qas"], "qas")
        entities = [_span(article, span) for span in _list(passage["entities"], "entities")]
    else:
        article = text_value(_picked(row, "passage")["passage"], "passage")
        queries = [row]
        listed = _list(_picked(row, "entities")["entities"], "entities")
        entities = [text_value(entity, "entities") for entity in listed]
    if not entities:
        raise InputError("entities (0) must be at least one; remove the row")
    choices = tuple(dict.fromkeys(entities))  # the same name may stand in several places
    shown = _HIGHLIGHT.sub(". ", _HIGHLIGHT_AFTER_MARK.sub(" ", article))
    for number, found in enumerate(queries):
        query = _object(found, f"qas[{number}]")
        texts = {
            "query": text_value(_picked(query, "query")["query"], "query"),
            "entities": ", ".join(choices),
            "passage": shown,
        }
        answers = tuple(
            text_value(
                _picked(answer, "text")["text"] if isinstance(answer, Mapping) else answer,
                "answers",
            )
            for answer in _list(query.get("answers") or [], "answers")
        )
        yield TaskSample(task, texts, choices, tuple(dict.fromkeys(answers)), group=article)


def _words(task: Task, row: Row) -> Iterator[TaskSample]:
    (field,) = task.fields
    words = _word_list(_picked(row, field)[field], field)
    if not words:
        raise InputError(f"{field} (no words) must be at least one; remove the row")
    given = row.get(task.label_field)
    tags = () if given is None else tuple(_tag(task, tag) for tag in _tag_list(task, given))
    if given is not None and len(tags) != len(words):
        raise InputError(
            f"{task.label_field} ({len(tags)}) must be as many as the words of {field} "
            f"({len(words)}); give each word its own"
        )
    yield TaskSample(task, {field: " ".join(words)}, task.labels, tags)


def _word_list(value: object, field: str) -> list[str]:
    if isinstance(value, str):
        return text_value(value, field).split()
    words = [text_value(word, field) for word in _list(value, field)]
    odd = next((word for word in words if word.split() != [word]), None)
    if odd is not None:
        raise InputError(
            f"{field} ({odd!r}) must be words without spaces; part it, or take the spaces out"
        )
    return words


def _tag_list(task: Task, value: object) -> list[object]:
    return [*value.split()] if isinstance(value, str) else _list(value, task.label_field)


def _tag(task: Task, found: object) -> str:
    if isinstance(found, str) and found in task.labels:
        return found
    index = _by_position(task, found) if not isinstance(found, bool) else None
    if index is None:
        raise InputError(
            f"{task.label_field} ({found}) must be of {', '.join(task.labels)} or indices below "
            f"{len(task.labels)}; mend the row, or give the task all of its labels"
        )
    return task.labels[index]


def _number(task: Task, row: Row) -> Iterator[TaskSample]:
    texts = {field: text_value(value, field) for field, value in _picked(row, *task.fields).items()}
    given = row.get(task.label_field)
    if given is None or given == "":
        yield TaskSample(task, texts, ())
        return
    try:
        number = float(given) if isinstance(given, str | int | float) else math.nan
    except (OverflowError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(given, bool):
        raise InputError(
            f"{task.label_field} ({given}) must be a finite number; mend the row, or name another "
            "field"
        )
    yield TaskSample(task, texts, (), (repr(number),))


def _answer_spans(task: Task, row: Row) -> Iterator[TaskSample]:
    texts = {field: text_value(value, field) for field, value in _picked(row, *task.fields).items()}
    given, context = row.get(task.label_field), texts["context"]
    found: dict[str, int] = {}
    if given is not None:
        answers = _picked(_object(given, task.label_field), "text", "answer_start")
        spans = (_list(answers[name], f"{task.label_field}.{name}") for name in answers)
        for text, start in zip(*spans, strict=False):
            answer = text_value(text, f"{task.label_field}.text")
            if not isinstance(start, int) or not answer or not context.startswith(answer, start):
                raise InputError(
                    f"{task.label_field} ({answer!r} at {start}) must stand in the context where "
                    "they say; count characters from 0"
                )
            found.setdefault(answer, start)
    yield TaskSample(task, texts, (), tuple(found), group=context, starts=tuple(found.values()))


def _span(article: str, span: object) -> str:
    place = _picked(_object(span, "entities"), "start", "end")
    start, end = place["start"], place["end"]
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start <= end:
        raise InputError(
            f"entities (from {start} to {end}) must be places in the passage; "
            "write whole numbers, the first character and the last"
        )
    return article[start : end + 1]


_LAYOUTS: Mapping[Layout, Callable[[Task, Row], Iterator[TaskSample]]] = {
    "flat": _flat,
    "wsc": _wsc,
    "multirc": _multirc,
    "record": _record,
    "words": _words,
    "number": _number,
    "span": _answer_spans,
}


def _answers(task: Task, row: Row) -> tuple[str, ...]:
    """The label in words; none where it is absent, null or -1, as in the official test sets."""
    found = row.get(task.label_field)
    if found is None or found in (-1, "-1"):
        return ()
    named = _by_name(task, found)
    position = _by_position(task, found)
    if named is None and position is None:
        raise InputError(
            f"{task.label_field} ({found}) must be one of {', '.join(task.labels)} or an index "
            f"below {len(task.labels)}; mend the row, or give the task all of its labels"
        )
    # A number without quotes may be meant either way; text and true or false are meant as names.
    is_number = isinstance(found, int) and not isinstance(found, bool)
    if is_number and None not in (named, position) and named != position:
        raise InputError(
            f"{task.label_field} ({found}) must mean one label, and is the name of one and the "
            f'index of another, {task.labels[position or 0]}; write the name as text, "{found}", '
            f"or the labels in the order of their indices"
        )
    return (task.labels[(position if named is None else named) or 0],)


def _by_name(task: Task, found: object) -> int | None:
    """Which label goes by that name; true, false and whole numbers are compared as text."""
    if not isinstance(found, str | int):
        return None
    keys = [label_key(label) for label in task.labels]
    key = label_key(str(found))
    return keys.index(key) if key in keys else None


def _by_position(task: Task, found: object) -> int | None:
    """Which label has that index; those of true and false are 1 and 0."""
    if isinstance(found, str):
        index = int(found) if found.isdecimal() else -1
    else:
        index = int(found) if isinstance(found, int) else -1
    return index if 0 <= index < len(task.labels) else None


def _picked(row: Row, *fields: str) -> dict[str, object]:
    missing = [field for field in fields if field not in row]
    if missing:
        found = ", ".join(map(str, row)) or "none"
        raise InputError(
            f"fields ({found}) must include {', '.join(missing)}; "
            "rename the fields or choose another task"
        )
    return {field: row[field] for field in fields}


def _object(value: object, name: str) -> Row:
    if not isinstance(value, Mapping):
        raise InputError(f"{name} ({kind_of(value)}) must be an object; write it as {{...}}")
    return value


def _list(value: object, name: str) -> list[object]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{name} ({kind_of(value)}) must be a list; write it as [...]")
    return list(value)

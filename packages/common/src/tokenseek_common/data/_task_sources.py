"""Where the samples of a task come from: a file, a folder in the official layout, or the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from tokenseek_common._errors import InputError
from tokenseek_common.data._hub_rows import hub_rows
from tokenseek_common.data._json_rows import json_rows
from tokenseek_common.data._known_tasks import find_task
from tokenseek_common.data._line_rows import labelled_lines, text_lines
from tokenseek_common.data._rows import (
    Located,
    Reader,
    as_object,
    check_limit,
    check_no_split,
    file_rows,
    is_path,
    suffix_of,
)
from tokenseek_common.data._table_rows import csv_rows, parquet_rows, tsv_rows
from tokenseek_common.data._task_rows import row_samples
from tokenseek_common.data._tasks import Task, TaskSample

_READERS: Mapping[str, Reader] = {
    ".jsonl": json_rows,
    ".json": json_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".parquet": parquet_rows,
}
_SAME_SPLIT = {"validation": "val", "val": "validation"}  # the hub's name and the archive's


def load_task(
    task: Task | str, source: str | Path, *, split: str | None = None, limit: int | None = None
) -> list[TaskSample]:
    """Read the samples of a task.

    Args:
        task: A task, or the name of one of `TASKS`.
        source: A ``.jsonl``, ``.json``, ``.csv``, ``.tsv`` or ``.parquet`` file, in all but the
            last case perhaps with ``.gz`` behind it (CSV and TSV with a line of names on top); a
            folder with one file a split (``train.jsonl``, ``val.jsonl``), or the folder of all
            tasks that the official archive unpacks to; or a hub id such as
            ``aps/super_glue:boolq``. A file with any other suffix is read as lines "label text" if
            the task has one text. Nested rows of the official files and flat ones of the hub give
            the same samples.
        split: Which file of a folder, or which split on the hub, by default ``train``;
            ``validation`` and ``val`` are one. A file has none.
        limit: Read at most this many samples, from the start.

    Returns:
        The samples in their order; without answers where the source has none, or -1.

    Raises:
        InputError: If the source is missing, empty or not readable, or a row does not fit the
            task; the text names the file and the line.
        ImportError: If a hub id is given and ``datasets`` is not installed.

    Example:
        >>> load_task("boolq", "SuperGLUE", split="validation")
        >>> load_task(labelled_text_task("mood", ["sad", "glad"]), "mood.tsv")
    """
    check_limit(limit)
    wanted = find_task(task) if isinstance(task, str) else task
    rows = (
        _path_rows(wanted, Path(source).expanduser(), split)
        if is_path(source)
        else hub_rows(
            str(source),
            split=split or "train",
            stream=limit is not None,
            files="a data file, a folder",
        )
    )
    samples = list(islice(_samples(wanted, rows), limit))
    if not samples:
        raise InputError(f"source ({source}) must hold at least one sample; it is empty")
    return samples


def load_rows(
    task: Task, source: str | Path, *, limit: int | None = None
) -> list[tuple[Mapping[str, object], TaskSample]]:
    """Read new rows of a file, each sample with the row that it came from; labels are not read.

    Args:
        task: What is asked of them.
        source: A file as `load_task` reads, but that lines without names are texts alone.
        limit: Read at most this many samples, from the start.

    Returns:
        Rows and samples without answers, in their order; a row that nests several comes with each.

    Raises:
        InputError: As `load_task`.

    Example:
        >>> [(row, sample)] = load_rows(mood, "new.jsonl")
        >>> sample.answers
        ()
    """
    check_limit(limit)
    path = Path(source).expanduser()
    asked = replace(task, label_field="")

    def lines(path: Path) -> Iterator[Located]:
        for where, row in text_lines(path):
            yield where, {task.fields[0]: as_object(where, row)["text"]}

    one_text = task.layout in ("flat", "number", "words") and len(task.fields) == 1
    rows = file_rows(path, _READERS, other=lines if one_text else None)
    found = list(islice(_pairs(asked, rows), limit))
    if not found:
        raise InputError(f"source ({source}) must hold at least one sample; it is empty")
    return [
        (row, replace(sample, task=task, choices=task.labels or sample.choices, answers=()))
        for row, sample in found
    ]


def _samples(task: Task, rows: Iterator[Located]) -> Iterator[TaskSample]:
    return (sample for _, sample in _pairs(task, rows))


def _pairs(
    task: Task, rows: Iterator[Located]
) -> Iterator[tuple[Mapping[str, object], TaskSample]]:
    for where, row in rows:
        fields = as_object(where, row)
        try:
            for sample in row_samples(task, fields):
                yield fields, sample
        except InputError as error:
            raise InputError(f"{where}: {error}") from None


def _path_rows(task: Task, path: Path, split: str | None) -> Iterator[Located]:
    if path.is_dir():
        path = _split_file(task, path, split or "train")
    elif path.exists():
        check_no_split(path, split)
    one_text = task.layout in ("flat", "number") and len(task.fields) == 1

    def lines(path: Path) -> Iterator[Located]:
        for where, (label, text) in labelled_lines(path):
            yield where, {task.label_field: label, task.fields[0]: text}

    yield from file_rows(path, _READERS, other=lines if one_text else None)


def _split_file(task: Task, folder: Path, split: str) -> Path:
    inner = folder / task.folder  # the folder itself, for a task that the archive does not hold
    folder = inner if inner.is_dir() else folder
    files = [file for file in sorted(folder.iterdir()) if suffix_of(file) in _READERS]
    for stem in (split, _SAME_SPLIT.get(split, split)):
        for suffix in _READERS:
            for file in files:
                if file.name.lower().removesuffix(".gz") == f"{stem}{suffix}":
                    return file
    held = [_stem(file) for file in files]
    raise InputError(
        f"split ({split}) must be one that {folder} holds ({', '.join(held) or 'none'}); "
        "name one of them, or a file"
    )


def _stem(file: Path) -> str:
    """What a file is called in front of its format."""
    return file.name[: file.name.lower().index(suffix_of(file))]

"""Where records come from: a file, or a data set on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TypeVar

from tokenseek_common._errors import InputError
from tokenseek_common.data._hub_rows import hub_rows
from tokenseek_common.data._json_rows import json_rows
from tokenseek_common.data._layouts import preference_from_fields, record_from_fields
from tokenseek_common.data._line_rows import text_lines
from tokenseek_common.data._records import Preference, Record
from tokenseek_common.data._rows import (
    Reader,
    as_object,
    check_limit,
    check_no_split,
    file_rows,
    is_path,
)
from tokenseek_common.data._table_rows import csv_rows, parquet_rows, tsv_rows

T = TypeVar("T")

_READERS: Mapping[str, Reader] = {
    ".jsonl": json_rows,
    ".json": json_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".parquet": parquet_rows,
    ".txt": text_lines,
}


def load_records(
    source: str | Path, *, split: str | None = None, limit: int | None = None
) -> list[Record]:
    """Read records from a file or from the hub.

    Args:
        source: A file, or a hub id: ``owner/name``, or ``owner/name:config`` where the data set
            has several configurations. What exists, carries the suffix of a data file or begins
            with ``.``, ``~`` or ``/`` is a path. ``.jsonl`` and ``.json`` hold one object a line or
            a list of objects, ``.csv`` and ``.tsv`` rows below a line of names, ``.txt`` a text a
            line; all of them may be compressed, with ``.gz`` behind that. ``.parquet`` besides.
        split: The split of a hub data set, by default ``train``; a file has none.
        limit: Read at most this many records, from the start.

    Returns:
        The records in their order.

    Raises:
        InputError: If the source is missing, empty or not readable, or a row fits no layout; the
            text names the file and the line.
        ImportError: If a hub id or a Parquet file is given and the extra ``data`` is not installed.

    Example:
        >>> load_records("train.jsonl", limit=100)
        >>> load_records("openai/gsm8k:main", split="test")
    """
    # Streamed where a limit is set, so that a few records do not download the whole set.
    stream = limit is not None
    records = list(_records(source, split=split, limit=limit, stream=stream))
    if not records:
        raise InputError(f"source ({source}) must hold at least one record; it is empty")
    return records


def iter_records(
    source: str | Path, *, split: str | None = None, limit: int | None = None
) -> Iterator[Record]:
    """Read records one at a time, so that a file may be larger than memory.

    A row is read when it is asked for; only a file that holds one JSON list is read as a whole.

    Args:
        source: See `load_records`.
        split: See `load_records`.
        limit: Read at most this many records, from the start.

    Returns:
        An iterator over the records. It raises what `load_records` does, each where it is come to.

    Raises:
        InputError: If an option has no meaning.

    Example:
        >>> first = next(iter_records("train.csv"))
    """
    return _records(source, split=split, limit=limit, stream=True)


def load_preferences(
    source: str | Path, *, split: str | None = None, limit: int | None = None
) -> list[Preference]:
    """Read preferences, each a better and a worse answer, from a file or from the hub.

    Args:
        source: See `load_records`; a row has ``{prompt, chosen, rejected}`` or, as two
            conversations, ``{chosen, rejected}``.
        split: See `load_records`.
        limit: See `load_records`.

    Returns:
        The preferences in the order of the source.

    Raises:
        InputError: As of `load_records`.

    Example:
        >>> preferences = load_preferences("preferences.jsonl")
    """
    stream = limit is not None
    rows = _rows(source, split=split, limit=limit, stream=stream)
    preferences = [_located(where, row, preference_from_fields) for where, row in rows]
    if not preferences:
        raise InputError(f"source ({source}) must hold at least one preference; it is empty")
    return preferences


def _records(
    source: str | Path, *, split: str | None, limit: int | None, stream: bool
) -> Iterator[Record]:
    rows = _rows(source, split=split, limit=limit, stream=stream)
    return (_located(where, row, record_from_fields) for where, row in rows)


def _rows(
    source: str | Path, *, split: str | None, limit: int | None, stream: bool
) -> Iterator[tuple[str, object]]:
    check_limit(limit)
    if is_path(source):
        check_no_split(source, split)
        rows = file_rows(Path(source).expanduser(), _READERS)
    else:
        rows = hub_rows(str(source), split=split or "train", stream=stream, files="a data file")
    return islice(rows, limit)


def _located(where: str, row: object, read: Callable[[Mapping[str, object]], T]) -> T:
    fields = as_object(where, row)
    try:
        return read(fields)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None

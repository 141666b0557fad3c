"""Where records come from: a JSONL or JSON file, or a data set on the Hugging Face hub."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from tokenseek_common._errors import InputError
from tokenseek_common.data._records import Record, record_from_fields
from tokenseek_common.data._rows import (
    as_object,
    file_rows,
    hub_rows,
    is_path,
    json_rows,
    jsonl_rows,
)


def load_records(
    source: str | Path, *, split: str = "train", limit: int | None = None
) -> list[Record]:
    """Read records from a file or from the hub.

    Args:
        source: A ``.jsonl`` file (one object a line, read line by line), a ``.json`` file (a list
            of objects), or a hub id: ``owner/name``, or ``owner/name:config`` where the data set
            has several configurations. What exists, carries the suffix of a data file or begins
            with ``.``, ``~`` or ``/`` is a path.
        split: The split of a hub data set; a file has none.
        limit: Read at most this many records, from the start.

    Returns:
        The records in their order.

    Raises:
        InputError: If the source is missing, empty or not readable, or a row fits no layout; the
            text names the file and the line.
        ImportError: If a hub id is given and ``datasets`` is not installed.

    Example:
        >>> load_records("train.jsonl", limit=100)
        >>> load_records("openai/gsm8k:main", split="test")
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit ({limit}) must be at least 1; leave it out to read everything")
    rows = (
        file_rows(Path(source).expanduser(), {".jsonl": jsonl_rows, ".json": json_rows})
        if is_path(source)
        else hub_rows(
            str(source),
            split=split,
            stream=limit is not None,
            files="a .jsonl or .json file",
        )
    )
    records = [_located_record(where, row) for where, row in islice(rows, limit)]
    if not records:
        raise InputError(f"source ({source}) must hold at least one record; it is empty")
    return records


def _located_record(where: str, row: object) -> Record:
    fields = as_object(where, row)
    try:
        return record_from_fields(fields)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None

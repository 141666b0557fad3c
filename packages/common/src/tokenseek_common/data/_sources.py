"""Where records come from: a JSONL or JSON file, or a data set on the Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from tokenseek_common._errors import InputError
from tokenseek_common.data._records import Record, record_from_fields

_DATA_SUFFIXES = frozenset({".jsonl", ".json", ".txt", ".csv", ".tsv", ".parquet", ".gz", ".zip"})
_HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[\w.-]+))?")
_Located = tuple[str, object]  # where a row stands, for errors, and the row


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
        _file_rows(Path(source).expanduser())
        if _is_path(source)
        else _hub_rows(str(source), split=split, stream=limit is not None)
    )
    records = [_located_record(where, row) for where, row in islice(rows, limit)]
    if not records:
        raise InputError(f"source ({source}) must hold at least one record; it is empty")
    return records


def _is_path(source: str | Path) -> bool:
    if isinstance(source, Path) or source.startswith((".", "~", "/")) or "\\" in source:
        return True
    return Path(source).suffix.lower() in _DATA_SUFFIXES or (source != "" and Path(source).exists())


def _located_record(where: str, row: object) -> Record:
    if not isinstance(row, Mapping):
        raise InputError(f"{where} must be a JSON object; write it as {{...}}")
    try:
        return record_from_fields(row)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _file_rows(path: Path) -> Iterator[_Located]:
    readers = {".jsonl": _jsonl_rows, ".json": _json_rows}
    try:
        if not path.exists():
            raise InputError(f"source ({path}) must be an existing file; check the path")
        if path.is_dir():
            raise InputError(f"source ({path}) must be a file, not a folder; name one file in it")
        if path.suffix.lower() not in readers:
            raise InputError(
                f"source ({path}) must end in .jsonl or .json; convert the file, one object a line"
            )
        yield from readers[path.suffix.lower()](path)
    except OSError as error:
        raise InputError(
            f"source ({path}) must be readable ({error.strerror}); check its permissions"
        ) from error


def _jsonl_rows(path: Path) -> Iterator[_Located]:
    # Bytes, since only \n ends a line here: text mode would also split at other line separators.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            if line.strip():
                # Without its newline, or an error at its end would be on a line of its own.
                yield where, _parse(line.rstrip(b"\r\n"), where, "mend or remove that line")


def _json_rows(path: Path) -> Iterator[_Located]:
    content = path.read_bytes()
    if not content.strip():
        return
    remedy = "mend the file, or name it .jsonl if it holds one object a line"
    rows = _parse(content, str(path), remedy)
    if not isinstance(rows, list):
        raise InputError(f"{path} must hold a list of objects; {remedy}")
    for number, row in enumerate(rows, start=1):
        yield f"{path}, record {number}", row


def _parse(content: bytes, where: str, remedy: str) -> object:
    try:
        text = content.decode("utf-8-sig")  # some editors put a byte order mark in front
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        place = where if line == 1 else f"{where}, line {line}"
        raise InputError(
            f"{place} must be UTF-8 (byte {error.start} is 0x{content[error.start]:02x}); "
            "save the file as UTF-8"
        ) from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = where if error.lineno == 1 else f"{where}, line {error.lineno}"
        raise InputError(
            f"{place} must be valid JSON ({error.msg} at column {error.colno}); {remedy}"
        ) from None
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits and brackets nested as deep.
        raise InputError(f"{where} must be valid JSON ({error}); {remedy}") from None


def _hub_rows(source: str, *, split: str, stream: bool) -> Iterator[_Located]:
    hub_id = _HUB_ID.fullmatch(source)
    if hub_id is None:
        raise InputError(
            f"source ({source}) must be a .jsonl or .json file or a hub id (owner/name); "
            "check the path"
        )
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError(
            f'reading {source} from the hub needs datasets: pip install "tokenseek-common[data]"'
        ) from error
    try:
        # Streamed where a limit is set, so that a few records do not download the whole set.
        rows = load_dataset(hub_id["name"], hub_id["config"], split=split, streaming=stream)
        for number, row in enumerate(rows, start=1):
            yield f"{source} ({split}), record {number}", row
    except (OSError, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise InputError(
            f"source ({source}) must be an existing file or a readable hub data set ({reason}); "
            "check the name, the split and the connection"
        ) from error

"""Rows, each with its place: of a JSONL, JSON or TSV file, of "label text" lines, or of the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from tokenseek_common._errors import InputError

Located: TypeAlias = tuple[str, object]  # where a row stands, for errors, and the row
Reader: TypeAlias = Callable[[Path], Iterator[Located]]

_DATA_SUFFIXES = frozenset({".jsonl", ".json", ".txt", ".csv", ".tsv", ".parquet", ".gz", ".zip"})
_HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[\w.-]+))?")


def is_path(source: str | Path) -> bool:
    """Whether a source is meant as a path: all else is a hub id."""
    if isinstance(source, Path) or source.startswith((".", "~", "/")) or "\\" in source:
        return True
    return Path(source).suffix.lower() in _DATA_SUFFIXES or (source != "" and Path(source).exists())


def as_object(where: str, row: object) -> Mapping[str, object]:
    """A row that must be an object of named fields."""
    if not isinstance(row, Mapping):
        raise InputError(f"{where} must be a JSON object; write it as {{...}}")
    return row


def file_rows(
    path: Path, readers: Mapping[str, Reader], *, other: Reader | None = None
) -> Iterator[Located]:
    """Read a file by the reader of its suffix, or by `other` where none has that suffix."""
    try:
        if not path.exists():
            raise InputError(f"source ({path}) must be an existing file; check the path")
        if path.is_dir():
            raise InputError(f"source ({path}) must be a file, not a folder; name one file in it")
        reader = readers.get(path.suffix.lower(), other)
        if reader is None:
            *first, last = readers
            raise InputError(
                f"source ({path}) must end in {', '.join(first)} or {last}; "
                "convert the file, one object a line"
            )
        yield from reader(path)
    except OSError as error:
        raise InputError(
            f"source ({path}) must be readable ({error.strerror}); check its permissions"
        ) from error


def jsonl_rows(path: Path) -> Iterator[Located]:
    """One JSON value a line; empty lines are skipped."""
    # Bytes, since only \n ends a line here: text mode would also split at other line separators.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            if line.strip():
                # Without its newline, or an error at its end would be on a line of its own.
                yield where, _parse(line.rstrip(b"\r\n"), where, "mend or remove that line")


def json_rows(path: Path) -> Iterator[Located]:
    """The values of one JSON list."""
    content = path.read_bytes()
    if not content.strip():
        return
    remedy = "mend the file, or name it .jsonl if it holds one object a line"
    rows = _parse(content, str(path), remedy)
    if not isinstance(rows, list):
        raise InputError(f"{path} must hold a list of objects; {remedy}")
    for number, row in enumerate(rows, start=1):
        yield f"{path}, record {number}", row


def tsv_rows(path: Path) -> Iterator[Located]:
    """Tab-separated values below a line of names, unquoted as those of GLUE are."""
    names: list[str] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            values = _decoded(line.rstrip(b"\r\n"), where).split("\t")
            if not names:
                names = values
            elif len(values) != len(names):
                raise InputError(
                    f"{where} ({len(values)} columns) must have the {len(names)} of the first "
                    "line; mend the line, and write no tab inside a text"
                )
            else:
                yield where, dict(zip(names, values, strict=True))


def labelled_lines(path: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Lines "label text", as (label, text); what is not UTF-8 in a text is replaced.

    TREC and the Stanford Sentiment Treebank go about in this form, TREC in more than one encoding.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            label, _, text = line.decode("utf-8-sig", errors="replace").strip().partition(" ")
            if label and not text:
                raise InputError(
                    f"{path}, line {number} ({label}) must be a label, a space and a text; "
                    "mend or remove that line"
                )
            if label:
                yield f"{path}, line {number}", (label, text)


def _parse(content: bytes, where: str, remedy: str) -> object:
    text = _decoded(content, where)
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


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")  # some editors put a byte order mark in front
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        place = where if line == 1 else f"{where}, line {line}"
        raise InputError(
            f"{place} must be UTF-8 (byte {error.start} is 0x{content[error.start]:02x}); "
            "save the file as UTF-8"
        ) from None


def hub_rows(source: str, *, split: str, stream: bool, files: str) -> Iterator[Located]:
    """The rows of one split on the hub; `files` says what else a source may be, for the error."""
    hub_id = _HUB_ID.fullmatch(source)
    if hub_id is None:
        raise InputError(
            f"source ({source}) must be {files} or a hub id (owner/name); check the path"
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

"""Rows, each with its place, of a file by its suffix: opened, unpacked and decoded here."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from tokenseek_common._errors import InputError

Located: TypeAlias = tuple[str, object]  # where a row stands, for errors, and the row
Reader: TypeAlias = Callable[[Path], Iterator[Located]]

_DATA_SUFFIXES = frozenset({".jsonl", ".json", ".txt", ".csv", ".tsv", ".parquet", ".gz", ".zip"})


def is_path(source: str | PathLike[str]) -> bool:
    """Whether a source is meant as a path: all else is a hub id.

    Raises:
        InputError: If it is neither text nor a path.
    """
    if isinstance(source, PathLike):
        return True
    if not isinstance(source, str):
        raise InputError(f"source ({source}) must be a path or a hub id (owner/name); name one")
    if source.startswith((".", "~", "/")) or "\\" in source:
        return True
    return Path(source).suffix.lower() in _DATA_SUFFIXES or (source != "" and Path(source).exists())


def check_limit(limit: int | None) -> None:
    """Refuse a number of rows that is none."""
    if limit is None:
        return
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise InputError(f"limit ({limit}) must be a whole number; leave it out to read everything")
    if limit < 1:
        raise InputError(f"limit ({limit}) must be at least 1; leave it out to read everything")


def check_no_split(source: str | PathLike[str], split: str | None) -> None:
    """Refuse a split of a file, which has none."""
    if split is not None:
        raise InputError(
            f"split ({split}) must be left out where source ({source}) is a file, which has no "
            "splits; name the file of that split"
        )


def as_object(where: str, row: object) -> Mapping[str, object]:
    """A row that must be an object of named fields."""
    if not isinstance(row, Mapping):
        raise InputError(f"{where} must be a JSON object; write it as {{...}}")
    return row


def suffix_of(path: Path) -> str:
    """What tells the format of a file, in small letters; ``.gz`` behind it does not."""
    inner = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return inner.suffix.lower()


def file_rows(
    path: Path, readers: Mapping[str, Reader], *, other: Reader | None = None
) -> Iterator[Located]:
    """Read a file by the reader of its suffix, or by `other` where none has that suffix."""
    try:
        if not path.exists():
            raise InputError(f"source ({path}) must be an existing file; check the path")
        if path.is_dir():
            raise InputError(f"source ({path}) must be a file, not a folder; name one file in it")
        reader = readers.get(suffix_of(path), other)
        if reader is None:
            *first, last = readers
            raise InputError(
                f"source ({path}) must end in {', '.join(first)} or {last}, or in one of them and "
                ".gz; convert the file"
            )
        yield from reader(path)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InputError(
            f"source ({path}) must be a whole gzip file; compress it again, or name it without .gz"
        ) from None
    except OSError as error:
        raise InputError(
            f"source ({path}) must be readable ({error.strerror}); check its permissions"
        ) from error


def opened(path: Path) -> BinaryIO:
    """Open a file for reading, unpacked as it is read."""
    return cast(BinaryIO, gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file from 1 on, without their ends: only LF and CRLF end one.

    Bytes, since text mode would also split at other line separators, such as those that JSON may
    have inside a string.
    """
    with opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def decoded(content: bytes, where: str) -> str:
    """The text of UTF-8 bytes; some editors put a byte order mark in front, which is taken away."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        place = where if line == 1 else f"{where}, line {line}"
        raise InputError(
            f"{place} must be UTF-8 (byte {error.start} is 0x{content[error.start]:02x}); "
            "save the file as UTF-8"
        ) from None

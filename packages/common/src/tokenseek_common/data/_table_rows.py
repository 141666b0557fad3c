"""Rows of a table: named by the first line of a CSV or TSV file, or by the schema of Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from tokenseek_common._errors import InputError
from tokenseek_common.data._rows import Located, decoded, numbered_lines

_PARQUET_ROWS = 1000  # made into objects at a time


def csv_rows(path: Path) -> Iterator[Located]:
    """Comma-separated values below a line of names; all of them are text.

    By the standard library and not by `datasets`, whose reader knows no lines, makes numbers of
    texts, and takes the texts "NA" and "null" for nothing.
    """
    # Python's own limit, 128 KiB a field, is there for files of another making: texts are longer.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    lines = (
        f"{decoded(line, f'{path}, line {number}')}\n" for number, line in numbered_lines(path)
    )
    reader = csv.reader(lines, strict=True)
    names: list[str] = []
    first = 1  # line of the row that is read: one with line breaks inside quotes has several
    while True:
        where = f"{path}, line {first}"
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"{where} must be valid CSV ({error}); mend the quotes from that line on"
            ) from None
        if values is None:
            return
        first = reader.line_num + 1
        if not values or values == [""]:
            continue
        if names:
            yield where, _named(names, values, where, 'put a text with commas into "quotes"')
        else:
            names = _unique(values, where)


def tsv_rows(path: Path) -> Iterator[Located]:
    """Tab-separated values below a line of names, unquoted as those of GLUE are."""
    names: list[str] = []
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        values = decoded(line, where).split("\t")
        if names:
            yield where, _named(names, values, where, "write no tab inside a text")
        else:
            names = _unique(values, where)


def parquet_rows(path: Path) -> Iterator[Located]:
    """The rows of a Parquet file, a row group at a time.

    By pyarrow, which `datasets` brings, and not by `datasets` or pyarrow's own batches: both kept
    all that they had read (of 138 and 415 MiB 0.8 and 1.1 GiB stayed resident).
    """
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError(
            f'reading {path} needs pyarrow: pip install "tokenseek-common[data]"'
        ) from error
    number = 0
    try:
        with ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                for batch in file.read_row_group(group).to_batches(_PARQUET_ROWS):
                    for row in batch.to_pylist():
                        number += 1
                        yield f"{path}, record {number}", row
    except (RuntimeError, ValueError) as error:  # of pyarrow; an OSError is told by `file_rows`
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise InputError(
            f"source ({path}) must be a Parquet file that can be read ({reason}); write it anew"
        ) from error


def _named(names: list[str], values: list[str], where: str, remedy: str) -> dict[str, str]:
    if len(values) != len(names):
        raise InputError(
            f"{where} ({len(values)} columns) must have the {len(names)} of the first line; "
            f"mend the line, and {remedy}"
        )
    return dict(zip(names, values, strict=True))


def _unique(names: list[str], where: str) -> list[str]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{where} ({twice}) must name each column once; rename one of them")
    return names

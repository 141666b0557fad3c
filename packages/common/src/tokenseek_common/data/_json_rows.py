"""Rows of JSON: one value a line, or one list of them.

Own code, since a row must be told by its line; `datasets` would also fill the fields that another
row has with None, and refuse a field that is text here and a number there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tokenseek_common._errors import InputError
from tokenseek_common.data._rows import Located, decoded, numbered_lines, opened

_ONE_A_LINE = "mend or remove that line"
_LIST = "mend the file: a list of objects, or one object a line"


def json_rows(path: Path) -> Iterator[Located]:
    """One value a line, read line by line; or where the file begins with a bracket, its list."""
    first = next((line for _, line in numbered_lines(path) if _shown(line)), b"")
    if _shown(first).startswith(b"["):
        yield from _list_rows(path)
        return
    for number, line in numbered_lines(path):
        if _shown(line):
            where = f"{path}, line {number}"
            yield where, _parsed(line, where, _ONE_A_LINE)


def _shown(line: bytes) -> bytes:
    """What of a line can be seen."""
    return line.removeprefix(b"\xef\xbb\xbf").strip()


def _list_rows(path: Path) -> Iterator[Located]:
    """The values of a list, which is read as a whole."""
    with opened(path) as file:
        content = file.read()
    rows = _parsed(content, str(path), _LIST)
    assert isinstance(rows, list)  # it begins with a bracket
    for number, row in enumerate(rows, start=1):
        yield f"{path}, record {number}", row


def _parsed(content: bytes, where: str, remedy: str) -> object:
    text = decoded(content, where)
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

"""A file of answers: one line a row, as JSON or as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenseek_common import InputError, replacing

SUFFIXES = (".jsonl", ".csv")


def check_answer_file(output: Path | None) -> None:
    """Refuse, without writing anything, a file that `write_answers` could not write.

    Raises:
        InputError: It is there already, has no folder, or another suffix.
    """
    if output is None:
        return
    path = output.expanduser()
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"output ({output}) must be a file that ends in .jsonl or .csv; choose another --output"
        )
    if path.exists():
        raise InputError(
            f"output ({output}) must be a new file, nothing is overwritten; choose another --output"
        )
    if not path.absolute().parent.is_dir():
        raise InputError(
            f"output ({output}) must lie in a folder that exists; make it, or choose another "
            "--output"
        )


def write_answers(output: Path, answers: Sequence[Mapping[str, Any]]) -> None:
    """Write answers, in their order; a reader never sees half of them.

    Args:
        output: A new file, whose suffix says how: one JSON object a line, or comma-separated values
            below a line of names, where an object inside an answer has a column for each name, and
            a list has spaces between its values.
        answers: Names and values of each.
    """
    path = output.expanduser()
    with replacing(path) as part:
        if path.suffix.lower() == ".jsonl":
            content = "".join(f"{json.dumps(answer, ensure_ascii=False)}\n" for answer in answers)
        else:
            content = _table([_flat(answer) for answer in answers])
        part.write_text(content, encoding="utf-8", newline="")


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = io.StringIO()
    writer = csv.DictWriter(lines, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return lines.getvalue()


def _flat(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Each name of an object inside behind the object's own: `scores glad`."""
    flat: dict[str, Any] = {}
    for name, value in answer.items():
        if isinstance(value, Mapping):
            flat |= {f"{name} {inner}": _plain(each) for inner, each in value.items()}
        else:
            flat[name] = _plain(value)
    return flat


def _plain(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value

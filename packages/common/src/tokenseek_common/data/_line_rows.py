"""Rows of plain lines: a text each, or a label and a text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenseek_common._errors import InputError
from tokenseek_common.data._rows import Located, decoded, numbered_lines


def text_lines(path: Path) -> Iterator[Located]:
    """A text a line; blank lines are skipped."""
    for number, line in numbered_lines(path):
        where = f"{path}, line {number}"
        text = decoded(line, where)
        if text.strip():
            yield where, {"text": text}


def labelled_lines(path: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Lines "label text", as (label, text); what is not UTF-8 in a text is replaced.

    TREC and the Stanford Sentiment Treebank go about in this form, TREC in more than one encoding.
    """
    for number, line in numbered_lines(path):
        label, _, text = line.decode("utf-8-sig", errors="replace").strip().partition(" ")
        if label and not text:
            raise InputError(
                f"{path}, line {number} ({label}) must be a label, a space and a text; "
                "mend or remove that line"
            )
        if label:
            yield f"{path}, line {number}", (label, text)

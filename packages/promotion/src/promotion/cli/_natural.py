"""Names in the order in which people count."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path


def listed(folder: Path, suffixes: Container[str]) -> list[Path]:
    """The files of a folder with some suffixes, frame2 before frame10; none that is hidden."""
    files = (
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )
    return sorted(files, key=lambda path: (natural(path.name), path.name))


def natural(name: str) -> list[tuple[str, int]]:
    """A key to sort by, in which numbers count as such."""
    texts_and_numbers = [*re.split(r"(\d+)", name), "0"]
    return [
        (text, int(number))
        for text, number in zip(texts_and_numbers[::2], texts_and_numbers[1::2], strict=True)
    ]

"""Files opened, and replaced as a whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tokenseek_common import InputError, replacing


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it.

    Raises:
        InputError: If it is missing, no ordinary file or not readable.
    """
    try:
        if not path.exists():
            raise InputError(f"{path} must exist; check the path")
        if not path.is_file():  # a folder, or a pipe that would never end
            raise InputError(f"{path} must be a file; name one, not a folder")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(
            f"{path} must be readable ({error.strerror}); check the path and its permissions"
        ) from error


def folder_of(path: Path) -> Path:
    """The path, whose folder is made where it is missing.

    Raises:
        InputError: It cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path.parent} must be a folder that can be made ({error.strerror}); choose another"
        ) from error
    return path


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as a whole: whatever ends the process, a reader finds the old or the new one.

    Raises:
        InputError: If it cannot be written.
    """
    with replacing(path) as part:
        part.write_bytes(content)

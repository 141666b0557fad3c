"""The folder that a run writes to: always a fresh one, so that no result is ever overwritten."""

from __future__ import annotations

import os
from pathlib import Path

from tokenseek_common._errors import InputError


def check_folder(output: Path | None) -> None:
    """Refuse, without writing anything, an output folder that `fresh_folder` would refuse.

    Args:
        output: What the user asked for; None is a numbered folder in the current one.

    Raises:
        InputError: If it holds something, is a file, or cannot be written.

    Example:
        >>> check_folder(Path("runs/first"))
    """
    folder = Path.cwd() if output is None else output.expanduser()
    if output is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"output ({output}) must be an empty or new folder; choose another --output"
        )
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"output ({output or folder}) must be writable; choose another --output")


def fresh_folder(output: Path | None, *, default: str) -> Path:
    """Create the folder that a run writes to.

    Args:
        output: What the user asked for: a folder that is absent or empty. None takes the first
            free one of ``<default>-001``, ``<default>-002``, ... in the current folder; of two
            runs that start at once, each gets its own.
        default: The name in front of the number.

    Returns:
        The folder; it exists and is empty.

    Raises:
        InputError: As `check_folder`.

    Example:
        >>> fresh_folder(None, default="train")
        PosixPath('train-001')
    """
    check_folder(output)
    try:
        if output is None:
            return _numbered(default)
        folder = output.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"output ({output or default}) must be writable ({error.strerror}); "
            "choose another --output"
        ) from error
    return folder


def _numbered(default: str) -> Path:
    number = 1
    while True:
        folder = Path(f"{default}-{number:03d}")
        try:
            folder.mkdir()  # fails where it exists: making and claiming are one step
        except FileExistsError:
            number += 1
        else:
            return folder

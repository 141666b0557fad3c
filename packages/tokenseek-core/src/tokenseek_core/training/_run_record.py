"""finetune.json: what a run was asked for, what it learnt from, and what came of it."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenseek_common import InputError, replacing
from tokenseek_common.data import Example

NAME = "finetune.json"
_PACKAGES = ("tokenseek-core", "transformers", "accelerate", "torch")


def fingerprint(examples: Sequence[Example]) -> str:
    """Name encoded examples by their content: a file may change under the same name."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(array("q", [len(example.input_ids), *example.input_ids]).tobytes())
        digest.update(array("q", example.labels).tobytes())
    return digest.hexdigest()


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write what is known of a run; a reader never sees half of it."""
    record = {**record, "versions": {name: version(name) for name in _PACKAGES}}
    with replacing(folder / NAME) as part:
        part.write_text(json.dumps(record, indent=2) + "\n")


def check_options(folder: Path, options: Mapping[str, object]) -> None:
    """Refuse to resume a run under options that would make it another one.

    Raises:
        InputError: They differ, or the folder has no record of them.
    """
    before = _read(folder)["options"]
    differing = [name for name, value in options.items() if before.get(name) != value]
    if differing:
        ours = ", ".join(f"{name} ({options[name]})" for name in differing)
        found = (before.get(name) for name in differing)
        theirs = ", ".join("left out" if value is None else str(value) for value in found)
        raise InputError(
            f"{ours} must be {theirs}, as in the run that is resumed; "
            "repeat its options, or start anew in another --output"
        )


def check_processes(folder: Path, count: int) -> None:
    """Refuse to resume a run in another number of processes, which share each batch.

    Raises:
        InputError: It differs.
    """
    before = _found(folder).get("processes", count)
    if before != count:
        raise InputError(
            f"processes ({count}) must be {before}, as in the run that is resumed; "
            "start as many, or start anew in another --output"
        )


def check_examples(folder: Path, fingerprints: Mapping[str, str | None]) -> None:
    """Refuse to resume a run on other examples.

    Raises:
        InputError: The records, or how they are encoded, have changed.
    """
    before = _read(folder)["examples"]
    differing = [name for name, value in fingerprints.items() if before.get(name) != value]
    if differing:
        raise InputError(
            f"{' and '.join(differing)} must hold the records of the run that is resumed; "
            "restore them, or start anew in another --output"
        )


def chosen_ratio(folder: Path) -> float:
    """The ratio that the run was given, by its user or by the forecast.

    Raises:
        InputError: The folder has no record of it.
    """
    return float(_read(folder)["ratio"])


def _read(folder: Path) -> dict[str, Any]:
    record = _found(folder)
    if {"options", "examples", "ratio"} <= record.keys():
        return record
    raise InputError(
        f"output ({folder}) must hold the {NAME} of the run that is resumed; "
        "start anew in another --output, without --resume"
    )


def _found(folder: Path) -> dict[str, Any]:
    """The record in a folder; empty where there is none to be read."""
    try:
        record: dict[str, Any] = json.loads((folder / NAME).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}

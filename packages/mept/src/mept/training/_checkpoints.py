"""Which checkpoint of an interrupted run is whole: the newest may have been cut off in mid-save."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

FOLDER = "checkpoints"
_STATE = "trainer_state.json"
_IN_PROGRESS = "checkpoint-is-incomplete.txt"  # stands there while the Trainer saves on SIGTERM
_ARCHIVES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Standing:
    """Where an interrupted run stands.

    Args:
        folder: Of the run.
        checkpoint: The newest whole one; None if there is none, and the run begins anew.
        cut_off: Newer ones, which cannot be used.
    """

    folder: Path
    checkpoint: Path | None
    cut_off: list[Path]


def standing_of(folder: Path) -> Standing:
    """Find where the run of an output folder can go on."""
    cut_off: list[Path] = []
    for checkpoint in sorted((folder / FOLDER).glob("checkpoint-*"), key=_number, reverse=True):
        if _is_whole(checkpoint):
            return Standing(folder, checkpoint, cut_off)
        cut_off.append(checkpoint)
    return Standing(folder, None, cut_off)


def set_aside(cut_off: list[Path]) -> None:
    """Rename checkpoints that cannot be used, so that the run can save at the same steps again."""
    for checkpoint in cut_off:
        number = 1
        # The Trainer counts and deletes whatever is called checkpoint-*.
        while (aside := checkpoint.with_name(f"cut-off-{checkpoint.name}-{number}")).exists():
            number += 1
        checkpoint.rename(aside)


def _number(checkpoint: Path) -> int:
    return int(re.sub(r"\D", "", checkpoint.name) or 0)


def _is_whole(checkpoint: Path) -> bool:
    """Whether every file is there up to its end; weights are not read."""
    if (checkpoint / _IN_PROGRESS).exists():
        return False
    if not all(zipfile.is_zipfile(checkpoint / name) for name in _ARCHIVES):
        return False
    try:
        json.loads((checkpoint / _STATE).read_text())
        with safe_open(checkpoint / _WEIGHTS, framework="pt"):
            return True
    except (OSError, ValueError, SafetensorError):
        return False

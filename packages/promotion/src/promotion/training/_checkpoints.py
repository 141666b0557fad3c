"""Checkpoints of a training: folders that appear whole or not at all."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from accelerate import Accelerator

KEPT = 2
"""Checkpoints that are kept; older ones are deleted when a newer one is whole."""


def save_checkpoint(accelerator: Accelerator, folder: Path, step: int) -> None:
    """Save all that a training needs to go on, then give it the name it is found by."""
    whole = folder / f"step-{step:08d}"
    partial = whole.with_suffix(".partial")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was cut off in mid-save
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        partial.rename(whole)
        for old in checkpoints(folder)[:-KEPT]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name))


def step_of(checkpoint: Path) -> int:
    """Steps that were taken when it was saved."""
    return int(checkpoint.name.removeprefix("step-"))

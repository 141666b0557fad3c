"""Checkpoints of a training: folders that appear whole or not at all."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from tokenseek_common import InputError

KEPT = 2
"""Checkpoints that are kept; older ones are deleted when a newer one is whole."""

SHARDS = "shards-of-"
"""What the folder of shards is called, before the number of processes."""


def save_checkpoint(
    accelerator: Accelerator, parts: Mapping[str, Any], folder: Path, step: int
) -> None:
    """Save all that a training needs to go on, then give it the name it is found by.

    Args:
        accelerator: The processes; it knows the parts too.
        parts: What has a state, and its name: shards are not left to accelerate, whose older
            versions load them back in part.
        folder: Of the training.
        step: Steps taken.
    """
    whole = folder / f"step-{step:08d}"
    partial = whole.with_suffix(".partial")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was cut off in mid-save
    accelerator.wait_for_everyone()
    if accelerator.is_fsdp2:
        save(dict(parts), checkpoint_id=partial / f"{SHARDS}{accelerator.num_processes}")
    else:
        accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        partial.rename(whole)
        for old in checkpoints(folder)[:-KEPT]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def load_checkpoint(accelerator: Accelerator, parts: Mapping[str, Any], checkpoint: Path) -> None:
    """Go on from a checkpoint.

    Raises:
        InputError: It was saved by other processes: their batches would be others.
    """
    shards = [path.name.removeprefix(SHARDS) for path in checkpoint.glob(f"{SHARDS}*")]
    # accelerate writes a file of random states for each process.
    processes = int(shards[0]) if shards else len(list(checkpoint.glob("random_states_*.pkl")))
    if processes != accelerator.num_processes:
        raise InputError(
            f"processes ({accelerator.num_processes}) must be {processes}, as in the training "
            f"that is resumed; start {processes}"
        )
    if bool(shards) != accelerator.is_fsdp2:
        raise InputError(
            f"FSDP2 ({accelerator.is_fsdp2}) must be {bool(shards)}, as in the training that is "
            "resumed; start accelerate as for that one"
        )
    if shards:
        load(dict(parts), checkpoint_id=checkpoint / f"{SHARDS}{processes}")
    else:
        accelerator.load_state(str(checkpoint))


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name))


def step_of(checkpoint: Path) -> int:
    """Steps that were taken when it was saved."""
    return int(checkpoint.name.removeprefix("step-"))

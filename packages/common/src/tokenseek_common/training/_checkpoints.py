"""Which checkpoint of an interrupted run is whole: the newest may have been cut off in mid-save."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STATE = "trainer_state.json"
_IN_PROGRESS = "checkpoint-is-incomplete.txt"  # stands there while the Trainer saves on SIGTERM
_STATES = ("optimizer.pt", "scheduler.pt")


@dataclass(frozen=True)
class Standing:
    """Where an interrupted run stands.

    Args:
        folder: Where its checkpoints are.
        checkpoint: The newest whole one; None if there is none.
        step: Optimizer steps taken by then.
        steps: Optimizer steps of the whole run; 0 if there is no whole checkpoint.
        cut_off: Newer checkpoints that cannot be used, and why.
    """

    folder: Path
    checkpoint: Path | None
    step: int
    steps: int
    cut_off: dict[Path, str]


def standing_of(folder: Path, *, processes: int = 1) -> Standing:
    """Find the newest checkpoint that training can go on from.

    Args:
        folder: The output folder of a Trainer.
        processes: How many train; each has a state of its own for what it draws.

    Returns:
        Where the run stands. Of weights only the length is checked, they are not read.

    Example:
        >>> standing_of(Path("run")).checkpoint
    """
    cut_off: dict[Path, str] = {}
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_number, reverse=True):
        if _number(checkpoint) < 0:
            continue
        damage = next(_damages(checkpoint, processes), None)
        if damage is None:
            state = json.loads((checkpoint / _STATE).read_text())
            return Standing(folder, checkpoint, state["global_step"], state["max_steps"], cut_off)
        cut_off[checkpoint] = damage
    return Standing(folder, None, 0, 0, cut_off)


def set_aside(standing: Standing) -> None:
    """Rename checkpoints that cannot be used, so that the run can save at the same steps again."""
    for checkpoint in standing.cut_off:
        number = 1
        # The Trainer counts and deletes whatever is called checkpoint-*.
        while (aside := checkpoint.with_name(f"cut-off-{checkpoint.name}-{number}")).exists():
            number += 1
        checkpoint.rename(aside)


def _number(checkpoint: Path) -> int:
    """The step in a checkpoint's name; -1 where there is none."""
    match = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
    return int(match[1]) if match else -1


def _damages(checkpoint: Path, processes: int) -> Iterator[str]:
    """What keeps a checkpoint from being used, cheapest to find first."""
    if (checkpoint / _IN_PROGRESS).exists():
        yield "its saving was interrupted"
    for name, whole in _parts(checkpoint, processes):
        if not (checkpoint / name).is_file():
            yield f"{name} is missing"
        elif not whole:
            yield f"{name} is cut off"


def _parts(checkpoint: Path, processes: int) -> Iterator[tuple[str, bool]]:
    """The files that a checkpoint needs, and whether each has its end."""
    yield _STATE, _json(checkpoint / _STATE) is not None
    drawing = [f"rng_state_{rank}.pth" for rank in range(processes)]
    for name in (*_STATES, *(drawing if processes > 1 else ["rng_state.pth"])):
        yield name, zipfile.is_zipfile(checkpoint / name)  # its directory stands at the end
    for name in _weights(checkpoint):
        yield name, _opens(checkpoint / name)


def _weights(checkpoint: Path) -> list[str]:
    """Names of the weight files: an adapter's, or a model's, which may come in several."""
    if (checkpoint / "adapter_config.json").exists():
        return ["adapter_model.safetensors"]
    index = _json(checkpoint / "model.safetensors.index.json")
    return ["model.safetensors"] if index is None else sorted(set(index["weight_map"].values()))


def _json(path: Path) -> dict[str, Any] | None:
    """What a file of JSON holds; None if it is missing or cut off."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content


def _opens(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    from safetensors import SafetensorError, safe_open  # it comes with transformers

    try:
        with safe_open(path, framework="pt"):
            return True
    except (OSError, SafetensorError):
        return False

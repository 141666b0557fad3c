"""Which checkpoint of an interrupted run is whole: the newest may have been cut off in mid-save."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tokenseek_common import InputError

STATE = "trainer_state.json"
_IN_PROGRESS = "checkpoint-is-incomplete.txt"  # stands there while the Trainer saves on SIGTERM
_STATES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")


@dataclass(frozen=True)
class Standing:
    """Where an interrupted run stands.

    Args:
        checkpoint: Its folder.
        step: Optimizer steps taken.
        steps: Optimizer steps of the whole run.
        cut_off: Newer checkpoints that cannot be used, and why.
    """

    checkpoint: Path
    step: int
    steps: int
    cut_off: dict[Path, str]


def newest_whole(folder: Path) -> Standing | None:
    """Find the newest checkpoint that training can go on from.

    Returns:
        Where the run stands; None if there is no whole checkpoint.
    """
    cut_off: dict[Path, str] = {}
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_number, reverse=True):
        if _number(checkpoint) < 0:
            continue
        damage = next(_damages(checkpoint), None)
        if damage is None:
            state = json.loads((checkpoint / STATE).read_text())
            return Standing(checkpoint, state["global_step"], state["max_steps"], cut_off)
        cut_off[checkpoint] = damage
    return None


def check_resumable(output: Path | None) -> Standing:
    """Find where an interrupted run can go on.

    Raises:
        InputError: No folder is named, it holds no whole checkpoint, or the run is finished.
    """
    if output is None:
        raise InputError("output (None) must be given with --resume; name the folder of the run")
    folder = output.expanduser()
    if not folder.is_dir():
        raise InputError(
            f"output ({output}) must be the folder of the run that is resumed; "
            "check --output, or leave out --resume"
        )
    standing = newest_whole(folder)
    if standing is None:
        raise InputError(
            f"output ({output}) must hold a whole checkpoint to resume from, and has none; "
            "start anew in another --output, without --resume"
        )
    if standing.step >= standing.steps:
        raise InputError(
            f"output ({output}) must hold an unfinished run, and this one is at its last step; "
            f"its model is in {standing.checkpoint}"
        )
    return standing


def set_aside(cut_off: dict[Path, str]) -> None:
    """Rename checkpoints that cannot be used, so that the run can save at the same steps again."""
    for checkpoint in cut_off:
        number = 1
        # The Trainer counts and deletes whatever is called checkpoint-*.
        while (aside := checkpoint.with_name(f"cut-off-{checkpoint.name}-{number}")).exists():
            number += 1
        checkpoint.rename(aside)


def _number(checkpoint: Path) -> int:
    """The step in a checkpoint's name; -1 where there is none."""
    match = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
    return int(match[1]) if match else -1


def _damages(checkpoint: Path) -> Iterator[str]:
    """What keeps a checkpoint from being used, cheapest to find first; weights are not read."""
    if (checkpoint / _IN_PROGRESS).exists():
        yield "its saving was interrupted"
    for name, whole in _parts(checkpoint):
        if not (checkpoint / name).is_file():
            yield f"{name} is missing"
        elif not whole:
            yield f"{name} is cut off"


def _parts(checkpoint: Path) -> Iterator[tuple[str, bool]]:
    """The files that a checkpoint needs, and whether each has its end."""
    yield STATE, _json(checkpoint / STATE) is not None
    for name in _STATES:
        yield name, zipfile.is_zipfile(checkpoint / name)  # its directory stands at the end
    for name in _weights(checkpoint):
        yield name, _opens(checkpoint / name)


def _weights(checkpoint: Path) -> list[str]:
    """Names of the weight files: an adapter's, or a model's, which may come in several."""
    if (checkpoint / "adapter_config.json").exists():
        return ["adapter_model.safetensors"]
    index = _json(checkpoint / "model.safetensors.index.json")
    return ["model.safetensors"] if index is None else sorted(set(index["weight_map"].values()))


def _json(path: Path) -> dict[str, dict[str, str]] | None:
    """What a file of JSON holds; None if it is missing or cut off."""
    try:
        content: dict[str, dict[str, str]] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content


def _opens(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    try:
        with safe_open(path, framework="pt"):
            return True
    except (OSError, SafetensorError):
        return False

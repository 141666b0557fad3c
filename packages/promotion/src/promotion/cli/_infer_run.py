"""The folder of a run of `promotion infer`: a fresh one, or that of the same run, interrupted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from promotion._motion import Motion
from promotion.io._files import replace_file
from tokenseek_common import InputError
from tokenseek_common.cli import check_folder, fresh_folder

SETTINGS, JOURNAL = "infer.json", "frames.jsonl"
"""What was asked for, and a line for each frame whose files are there."""


@dataclass(frozen=True)
class Found:
    """What was found in a frame, in figures; of motion None where the frame stands alone."""

    image: str

    mean_flow: float | None
    """Pixels."""

    longest_flow: float | None
    """Pixels."""

    occluded: float | None
    """Share of the pixels that the next frame does not show; None without --confidence."""

    median_depth: float
    """In metres only where the weights were trained on metric depth."""

    nearest: float
    farthest: float


def figures_of(image: str, motion: Motion) -> Found:
    """What was found, in figures."""
    lengths = None if motion.flow is None else motion.flow.norm(dim=0)
    depth = motion.depth
    return Found(
        image,
        None if lengths is None else float(lengths.mean()),
        None if lengths is None else float(lengths.max()),
        None if motion.occlusion is None else float(motion.occlusion.float().mean()),
        float(np.median(depth.numpy())),
        float(depth.min()),
        float(depth.max()),
    )


@dataclass(frozen=True)
class InferRun:
    """A run, and the frames that it has looked at, oldest first."""

    folder: Path
    found: list[Found]

    def add(self, found: Found) -> None:
        """Note that a frame's files are there."""
        with (self.folder / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(asdict(found)) + "\n")
        self.found.append(found)


def check_run(output: Path | None, settings: Mapping[str, Any], *, resume: bool) -> None:
    """Refuse a folder that `open_run` would refuse, without writing anything.

    Raises:
        InputError: The folder is not fresh or, to resume, does not hold the same run.
    """
    if not resume:
        if output is not None and (output.expanduser() / SETTINGS).exists():
            raise InputError(
                f"output ({output}) must be an empty or new folder, and holds a run; go on with it "
                "by --resume, or choose another --output"
            )
        check_folder(output)
        return
    if output is None:
        raise InputError("output (None) must be given with --resume; name the folder of the run")
    path = output.expanduser() / SETTINGS
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"output ({output}) must be the folder of a run, with its {SETTINGS}; check --output, "
            "or leave out --resume"
        ) from error
    for field, ours in settings.items():
        if begun.get(field) != ours:
            raise InputError(
                f"{field} ({ours}) must be {begun.get(field)}, as in the run that is resumed; "
                "repeat its options, or start anew in another --output"
            )


def open_run(output: Path | None, settings: Mapping[str, Any], *, resume: bool) -> InferRun:
    """Make a run's folder, or find the one to go on in.

    Args:
        output: The folder; None is a numbered one in the current folder.
        settings: What was asked for, as JSON can hold it.
        resume: Go on with what is in the folder.

    Raises:
        InputError: As `check_run`.
    """
    check_run(output, settings, resume=resume)
    if resume:
        assert output is not None  # as was checked
        folder = output.expanduser()
        found = _noted(folder)
    else:
        folder = fresh_folder(output, default="promotion-infer")
        text = json.dumps(settings, indent=2) + "\n"
        replace_file(folder / SETTINGS, text.encode())
        found = []
    return InferRun(folder, found)


def _noted(folder: Path) -> list[Found]:
    """The lines of the journal; one that was being written when the run ended is taken away."""
    path = folder / JOURNAL
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    if whole != lines:
        replace_file(path, "".join(whole).encode())
    return [Found(**json.loads(line)) for line in whole]

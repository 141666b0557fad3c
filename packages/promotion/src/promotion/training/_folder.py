"""The folder of a training: a fresh one, or that of the same training, interrupted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from promotion.training._config import (
    TrainingConfig,
    first_difference,
    read_training_config,
    write_training_config,
)
from tokenseek_common import InputError
from tokenseek_common.cli import fresh_folder

NAME = "training.yaml"
"""What is trained in a folder; it can be trained again from this file."""

DATA = "data.json"
"""What the data sets on disk held, by their paths."""


def open_training(config: TrainingConfig, output: Path | None, *, resume: bool) -> Path:
    """Make a training's folder, or find the one to go on in.

    Args:
        config: What is trained there.
        output: The folder; None is a numbered one in the current folder.
        resume: Go on with what is in the folder.

    Raises:
        InputError: The folder is not fresh or, to resume, does not hold the same training,
            unfinished.
    """
    if resume:
        return _resumable(config, output)
    if output is not None and (output.expanduser() / NAME).exists():
        raise InputError(
            f"output ({output}) must be an empty or new folder, and holds a training; "
            "go on with it by --resume, or choose another --output"
        )
    folder = fresh_folder(output, default="promotion-train")
    write_training_config(config, folder / NAME)
    (folder / DATA).write_text(json.dumps(listings(config), indent=2) + "\n")
    return folder


def finished(folder: Path) -> bool:
    """Whether the weights have been saved: their config is written last."""
    return (folder / "config.json").exists()


def listings(config: TrainingConfig) -> dict[str, str]:
    """The files of each data set on disk, by name and size, as a short text that tells others."""
    found = {}
    for folder in {str(each.path) for stage in config.stages for each in stage.folders}:
        digest = hashlib.sha256()
        root = Path(folder).expanduser()
        for path in sorted(root.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
        found[folder] = digest.hexdigest()
    return found


def _check_data(config: TrainingConfig, folder: Path) -> None:
    """Refuse to go on with other data.

    Raises:
        InputError: Files have come, gone or changed their size.
    """
    if not (folder / DATA).exists():  # of a training that began before there was one
        return
    before = json.loads((folder / DATA).read_text())
    for path, listing in listings(config).items():
        if before.get(path) != listing:
            raise InputError(
                f"folders ({path}) must hold the files of the training that is resumed; "
                "restore them, or start anew in another --output"
            )


def _resumable(config: TrainingConfig, output: Path | None) -> Path:
    if output is None:
        raise InputError(
            "output (None) must be given with --resume; name the folder of the training"
        )
    folder = output.expanduser()
    if not (folder / NAME).is_file():
        raise InputError(
            f"output ({output}) must be the folder of a training, with its {NAME}; "
            "check --output, or leave out --resume"
        )
    difference = first_difference(config, read_training_config(folder / NAME))
    if difference is not None:
        field, ours, theirs = difference
        raise InputError(
            f"{field} ({ours}) must be {theirs}, as in the training that is resumed; "
            "repeat its --config and --seed, or start anew in another --output"
        )
    _check_data(config, folder)
    if finished(folder):
        raise InputError(
            f"output ({output}) must hold an unfinished training, and this one is finished; its "
            "weights are there, to use or to start another training with"
        )
    return folder

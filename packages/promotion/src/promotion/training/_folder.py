"""The folder of a training: a fresh one, or that of the same training, interrupted."""

from __future__ import annotations

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
    return folder


def finished(folder: Path) -> bool:
    """Whether the weights have been saved: their config is written last."""
    return (folder / "config.json").exists()


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
    if finished(folder):
        raise InputError(
            f"output ({output}) must hold an unfinished training, and this one is finished; its "
            "weights are there, to use or to start another training with"
        )
    return folder

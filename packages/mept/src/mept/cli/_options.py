"""Checks of options that several commands have."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import torch

from tokenseek_common import InputError
from tokenseek_common.cli import resolve_device


def check_counts(options: Mapping[str, int | None]) -> None:
    """Refuse a count below 1; None is what was not given.

    Raises:
        InputError: One is.
    """
    for name, value in options.items():
        if value is not None and value < 1:
            raise InputError(f"{name} ({value}) must be at least 1; choose another {_flag(name)}")


def check_positive(options: Mapping[str, float | None]) -> None:
    """Refuse a number that is not above 0 and finite.

    Raises:
        InputError: One is not.
    """
    for name, value in options.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(
                f"{name} ({value:g}) must be above 0 and finite; choose another {_flag(name)}"
            )


def check_shares(options: Mapping[str, float]) -> None:
    """Refuse a share that is none, or all.

    Raises:
        InputError: One is.
    """
    for name, value in options.items():
        if not 0 < value < 1:
            raise InputError(
                f"{name} ({value:g}) must be above 0 and below 1; choose another {_flag(name)}"
            )


def first_device(name: str) -> torch.device:
    """The device that an option names, if the Trainer would use it.

    Raises:
        InputError: It is none of this machine, or not the first of its kind.
    """
    device = resolve_device(name)
    if device.index:
        raise InputError(
            f"device ({device}) must be the first of its kind; choose --device {device.type} "
            f"and set CUDA_VISIBLE_DEVICES={device.index}"
        )
    return device


def require_one_process() -> None:
    """Refuse to run several times at once, as launchers of distributed training start a program.

    Raises:
        InputError: There are several processes.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count != "1":
        raise InputError(
            f"WORLD_SIZE ({count}) must be 1, training runs in one process; start it without "
            "torchrun or accelerate launch"
        )


def flat(given: tuple[tuple[str, ...], ...]) -> list[str]:
    """The values of an option that may be repeated, and take several values each time."""
    return [value for values in given for value in values]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"

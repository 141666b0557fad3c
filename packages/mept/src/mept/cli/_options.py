"""What several commands ask of their options."""

from __future__ import annotations

import os

from tokenseek_common import InputError


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

"""How many times a command runs at once."""

from __future__ import annotations

import os

from tokenseek_common._errors import InputError


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

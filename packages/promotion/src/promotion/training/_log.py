"""The figures of a training: lines of JSON and, where asked, events for tensorboard."""

from __future__ import annotations

import json
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from promotion.io._files import replace_file
from tokenseek_common import InputError

NAME = "log.jsonl"


class TrainingLog:
    """Writes figures to a training's folder; a context that closes the events.

    Args:
        folder: Where `log.jsonl` is; what it says of steps after `step` is dropped, since they are
            taken again.
        step: Steps taken already.
        tensorboard: Write events too.

    Raises:
        InputError: tensorboard is not installed.
    """

    def __init__(self, folder: Path, *, step: int = 0, tensorboard: bool = False) -> None:
        self.path = folder / NAME
        kept = [line for line in read_log(folder) if line["step"] <= step]
        replace_file(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self.events: Any = None
        if tensorboard:
            check_tensorboard()
            from torch.utils.tensorboard import SummaryWriter

            self.events = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Add figures, to five digits."""
        line: dict[str, Any] = {"step": step, "cpu_seconds": round(time.process_time(), 1)}
        line |= {name: float(f"{value:.5g}") for name, value in figures.items()}
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if self.events is not None:
            for name, value in figures.items():
                self.events.add_scalar(name, value, step)
            self.events.flush()

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *raised: object) -> None:
        if self.events is not None:
            self.events.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a training's log, oldest first; not one that was being written when it ended."""
    path = folder / NAME
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def check_tensorboard() -> None:
    """Refuse to write events without the package.

    Raises:
        InputError: tensorboard is not installed.
    """
    if find_spec("tensorboard") is None:
        raise InputError(
            "tensorboard (True) must find the package tensorboard; "
            'pip install "promotion-flow[tensorboard]"'
        )

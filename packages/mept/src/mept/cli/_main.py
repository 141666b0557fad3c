"""The commands of `mept`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from mept.cli._eval import Eval
from mept.cli._inspect import Inspect
from mept.cli._train import Train
from tokenseek_common.cli import run


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code of the process."""
    return run(
        {"train": Train, "eval": Eval, "inspect": Inspect},
        prog="mept",
        description="Tune frozen models by prompts that a router mixes for every input.",
        version=version("mept"),
        argv=argv,
    )

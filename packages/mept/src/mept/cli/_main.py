"""The commands of `mept`, which are imported when they are run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

from mept.cli._config_file import with_config
from tokenseek_common import InputError
from tokenseek_common.cli import CommandPlace, Commands, Console, run

COMMANDS: Commands = {
    "train": CommandPlace(
        "Train prompts on one task or a mixture, choose the best checkpoint, score it once.",
        "mept.cli._train",
        "Train",
    ),
    "eval": CommandPlace(
        "Score an adapter of `mept train` on one split of one task or more.",
        "mept.cli._eval",
        "Eval",
    ),
    "predict": CommandPlace(
        "Answer new rows with an adapter of `mept train`.",
        "mept.cli._predict",
        "Predict",
    ),
    "generate": CommandPlace(
        "Let a model with an adapter of `mept train` write.",
        "mept.cli._generate",
        "Generate",
    ),
    "inspect": CommandPlace(
        "See which experts an adapter of `mept train` routes samples to.",
        "mept.cli._inspect",
        "Inspect",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code of the process."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = with_config(arguments)
    except InputError as error:
        Console().error(str(error))
        return 2
    return run(
        COMMANDS,
        prog="mept",
        description="Tune frozen models by prompts that a router mixes for every input.",
        version=version("mept"),
        argv=arguments,
    )

"""The options that every command has, and the part of them that decides a run's numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from tokenseek_common._errors import InputError
from tokenseek_common.cli._dtype_name import DtypeName

_SEEDS = 2**32  # numpy, which transformers seeds along with torch, takes no more


def on_unless(help: str) -> Any:
    """Describe a switch that is on by default, as ``--no-name`` takes it away.

    Args:
        help: What ``--no-name`` does; the string below the field says what the field does.

    Returns:
        The second argument of an `Annotated` bool.

    Example:
        >>> viz: Annotated[bool, on_unless("Draw no pictures.")] = True
    """
    return tyro.conf.arg(help=help, help_behavior_hint="")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What decides the numbers of any run; the settings of one kind of run are a subclass.

    Raises:
        InputError: If the seed is out of range. A subclass with a ``__post_init__`` of its own
            calls this one first.

    Example:
        >>> RunSettings(seed=3).device
        'auto'
    """

    seed: int = 0
    """Seed of everything random."""

    device: str = "auto"
    """Where to compute: auto (the accelerator, else the CPU), cpu, cuda:0 and the like."""

    dtype: DtypeName = "auto"
    """Precision: auto is bfloat16 where a CUDA device has it, float32 elsewhere."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < _SEEDS:
            raise InputError(
                f"seed ({self.seed}) must be from 0 to {_SEEDS - 1}; choose another --seed"
            )


@dataclass(frozen=True, kw_only=True)
class CommonOptions(RunSettings):
    """The options that every command has; a command is a subclass that adds its own.

    Raises:
        InputError: As `RunSettings`.

    Example:
        >>> CommonOptions(seed=3).quiet
        False
    """

    output: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", aliases=("-o",))] = None
    """Where to write: a new or empty folder. Without it, a new numbered one."""

    quiet: bool = False
    """Print no tables, notes or progress; errors are still told."""

    json: bool = False
    """Print the result as one JSON object on stdout, and everything else on stderr."""

    debug: bool = False
    """Show the traceback of an error."""

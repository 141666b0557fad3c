"""The commands of `promotion`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from promotion.cli._synth import Synth
from tokenseek_common.cli import run


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code of the process."""
    return run(
        {"synth": Synth},
        prog="promotion",
        description="Optical flow and depth through prototypes.",
        version=version("promotion-flow"),
        argv=argv,
    )

"""The commands of `promotion`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from promotion.cli._eval import Eval
from promotion.cli._infer import Infer
from promotion.cli._synth import Synth
from promotion.cli._train import Train
from promotion.cli._viz import Viz
from tokenseek_common.cli import run


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code of the process."""
    return run(
        {"infer": Infer, "eval": Eval, "viz": Viz, "synth": Synth, "train": Train},
        prog="promotion",
        description="Optical flow and depth through prototypes.",
        version=version("promotion-flow"),
        argv=argv,
    )

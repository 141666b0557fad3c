"""The commands of `tokenseek`, which are imported when they are run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from tokenseek_common.cli import CommandPlace, Commands, run

COMMANDS: Commands = {
    "demo": CommandPlace(
        "Fine-tune a small model for a few minutes, each way, and write a report.",
        "tokenseek_core.cli._demo",
        "Demo",
    ),
    "finetune": CommandPlace(
        "Fine-tune a model on instructions, conversations or text.",
        "tokenseek_core.cli._finetune",
        "Finetune",
    ),
    "inspect": CommandPlace(
        "See which tokens of data or of a text a training would keep, and why.",
        "tokenseek_core.cli._inspect",
        "Inspect",
    ),
    "profile": CommandPlace(
        "Measure dense, checkpointed and TokenSeek steps of a model side by side.",
        "tokenseek_core.cli._profile",
        "Profile",
    ),
    "estimate": CommandPlace(
        "Tell what training steps of a model need, before there are weights or a GPU.",
        "tokenseek_core.cli._estimate",
        "Estimate",
    ),
    "advise": CommandPlace(
        "Say how to fine-tune a model on data: what each way takes, and which to choose.",
        "tokenseek_core.cli._advise",
        "Advise",
    ),
    "supported": CommandPlace(
        "Say whether TokenSeek can train a model, and what to know of it.",
        "tokenseek_core.cli._supported",
        "Supported",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code of the process."""
    return run(
        COMMANDS,
        prog="tokenseek",
        description="Fine-tune language models through the tokens that matter.",
        version=version("tokenseek-core"),
        argv=argv,
    )

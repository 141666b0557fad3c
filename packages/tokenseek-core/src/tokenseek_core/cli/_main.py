"""The commands of `tokenseek`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from tokenseek_common.cli import run
from tokenseek_core.cli._demo import Demo
from tokenseek_core.cli._estimate import Estimate
from tokenseek_core.cli._finetune import Finetune
from tokenseek_core.cli._profile import Profile
from tokenseek_core.cli._supported import Supported


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code of the process."""
    return run(
        {
            "demo": Demo,
            "finetune": Finetune,
            "profile": Profile,
            "estimate": Estimate,
            "supported": Supported,
        },
        prog="tokenseek",
        description="Fine-tune language models through the tokens that matter.",
        version=version("tokenseek-core"),
        argv=argv,
    )

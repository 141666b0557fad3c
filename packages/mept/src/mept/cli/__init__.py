"""The command line `mept`."""

from __future__ import annotations

from collections.abc import Sequence

from tokenseek_common import interruptible


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code of the process.

    Args:
        argv: The arguments; by default those of the process.
    """
    with interruptible():
        from mept.cli._main import main as run  # which takes a while

        return run(argv)


__all__ = ["main"]

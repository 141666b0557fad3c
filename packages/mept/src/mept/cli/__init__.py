"""The command line `mept`."""

from mept.cli._main import main

__all__ = ["main"]

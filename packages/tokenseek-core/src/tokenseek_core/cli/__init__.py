"""The command line `tokenseek`."""

from tokenseek_core.cli._main import main

__all__ = ["main"]

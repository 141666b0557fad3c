"""The command line `promotion`."""

from promotion.cli._main import main

__all__ = ["main"]

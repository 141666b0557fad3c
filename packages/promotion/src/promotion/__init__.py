"""Prototypes as motion learners; this release reserves the name and does nothing yet."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("promotion-flow")

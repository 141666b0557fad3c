"""Mixture of expert prompt tuning; this release reserves the name and does nothing yet."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("mept")

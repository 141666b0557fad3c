"""Checks of numbers that options give."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tokenseek_common._errors import InputError


def check_counts(options: Mapping[str, int | None], *, least: int = 1) -> None:
    """Refuse a count that is too small; None is what was not given.

    Args:
        options: Names and values.
        least: The smallest that will do.

    Raises:
        InputError: One is smaller.

    Example:
        >>> check_counts({"batch_size": 4, "limit": None})
    """
    for name, value in options.items():
        if value is not None and value < least:
            raise InputError(
                f"{name} ({value}) must be at least {least}; choose another {_flag(name)}"
            )


def check_positive(options: Mapping[str, float | None]) -> None:
    """Refuse a number that is not above 0 and finite; None is what was not given.

    Args:
        options: Names and values.

    Raises:
        InputError: One is not.

    Example:
        >>> check_positive({"epochs": 0.5})
    """
    for name, value in options.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(
                f"{name} ({value:g}) must be above 0 and finite; choose another {_flag(name)}"
            )


def check_shares(options: Mapping[str, float]) -> None:
    """Refuse a share that is none, or all.

    Args:
        options: Names and values.

    Raises:
        InputError: One is.

    Example:
        >>> check_shares({"dev_size": 0.1})
    """
    for name, value in options.items():
        if not 0 < value < 1:
            raise InputError(
                f"{name} ({value:g}) must be above 0 and below 1; choose another {_flag(name)}"
            )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"

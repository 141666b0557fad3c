"""What several commands ask of their options."""

from __future__ import annotations


def flat(given: tuple[tuple[str, ...], ...]) -> list[str]:
    """The values of an option that may be repeated, and take several values each time."""
    return [value for values in given for value in values]

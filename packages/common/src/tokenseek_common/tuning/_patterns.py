"""Shell patterns on the names of parameters."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from fnmatch import translate

from tokenseek_common._errors import InputError


def matches(pattern: str, names: Collection[str]) -> list[str]:
    """The names that a pattern matches.

    Args:
        pattern: Of a shell: `*`, `?`, `[...]`; capitals count.
        names: What it may match.

    Returns:
        At least one, in their order.

    Raises:
        InputError: It matches none.
    """
    is_match = re.compile(translate(pattern)).match
    found = [name for name in names if is_match(name)]
    if not found:
        raise InputError(
            f"pattern ({pattern}) must match one of {len(names)} names, "
            f"such as {next(iter(names), 'none')}; correct it, or leave it out"
        )
    return found


def all_matches(patterns: Iterable[str], names: Collection[str]) -> list[str]:
    """The names that one pattern or another matches, each once, in the order of the names.

    Raises:
        InputError: A pattern matches none.
    """
    found = {name for pattern in patterns for name in matches(pattern, names)}
    return [name for name in names if name in found]

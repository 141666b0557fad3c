"""Options that must be positive where they are given."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tokenseek_common import InputError


def check_positive(options: Mapping[str, float | None]) -> None:
    """Refuse a number that is not above 0 and finite; None is what was not given.

    Raises:
        InputError: One is not.
    """
    for name, value in options.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(
                f"{name} ({value:g}) must be a positive number; "
                f"choose another --{name.replace('_', '-')}"
            )

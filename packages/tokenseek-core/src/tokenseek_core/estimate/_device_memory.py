"""An amount of memory, as people write it."""

from __future__ import annotations

import re

from tokenseek_common import InputError

_PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_memory(text: str) -> int:
    """Read a number of bytes that is written with its unit.

    Args:
        text: A number and KiB, MiB, GiB or TiB (powers of 1024) or kB, MB, GB or TB (of 1000), in
            any case, with or without a blank between them.

    Returns:
        Bytes.

    Raises:
        InputError: The text is something else, or less than one byte.

    Example:
        >>> parse_memory("1.5 GiB")
        1610612736
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?)(i?)b", text.strip().lower())
    size = 0
    if match:
        number, prefix, binary = match.groups()
        size = int(float(number) * (1024 if binary else 1000) ** _PREFIXES[prefix])
    if size < 1:
        raise InputError(
            f"device_memory ({text}) must be a number of bytes with its unit; "
            "write --device-memory 24GiB, or 24GB"
        )
    return size

"""The formats of a kind of content, by the suffix of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np

from tokenseek_common import InputError

T = TypeVar("T")


class Codec(NamedTuple):
    """How one format is read and written.

    In between stands an array of `[h, w]` or `[h, w, 2]`, in the units that the file stores, which
    is not a finite number where the value is unknown.
    """

    decode: Callable[[BinaryIO], np.ndarray]
    encode: Callable[[Path, np.ndarray], bytes]  # the path is for errors


def by_suffix(path: Path, formats: Mapping[str, T]) -> T:
    """Choose a format by the suffix of a file, in capitals or not.

    Raises:
        InputError: If the suffix is none of them.
    """
    suffix = path.suffix.lower()
    if suffix not in formats:
        known = ", ".join(sorted(formats))
        raise InputError(f"{path} must end in one of {known}; convert it or choose another name")
    return formats[suffix]

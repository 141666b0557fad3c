"""Data sets on disk, as a training's file names them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict

from promotion.datasets import FolderDataset, open_folder
from promotion.datasets._open import LayoutName
from tokenseek_common import InputError


@dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """A data set on disk.

    Raises:
        InputError: A number is out of its range.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    path: Path
    """Where it is."""

    layout: LayoutName | None = None
    """Its layout's name, as in `open_folder`; None takes the first that fits."""

    share: float = 1.0
    """How often it is drawn from, beside the shares of the other folders and of the scenes."""

    def __post_init__(self) -> None:
        if not 0 < self.share < math.inf:
            raise InputError(f"share ({self.share}) must be above 0; leave the folder out instead")

    def open(self) -> FolderDataset:
        """Open it; a folder is listed once in a process.

        Raises:
            InputError: As `open_folder`.
        """
        return open_folder(self.path, self.layout)


def _named(value: Any) -> Any:
    return {"path": value} if isinstance(value, str | Path) else value


Folder = Annotated[FolderConfig, BeforeValidator(_named)]
"""In a file: a path, or its `path`, `layout` and `share`."""

"""The installed package that lets the steps of a model run some of its rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from typing import cast

from torch import nn

GROUP = "tokenseek_common.row_methods"
"""The group of entry points under which a package offers one."""

RowMethod = Callable[[nn.Module, float], AbstractContextManager[object]]
"""Takes a model and the share of its tokens that training steps back-propagate through while the
block runs."""


def row_method() -> RowMethod | None:
    """Find a package that offers this to others, which therefore need not import it.

    Returns:
        The first by name; None where none is installed.
    """
    offered = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return cast(RowMethod, offered[0].load()) if offered else None

"""The types of what is drawn, so that annotations resolve where matplotlib is absent too."""

from __future__ import annotations

from typing import Any

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Outline
except ImportError:  # an extra; `require_matplotlib` says so where something is drawn
    Axes = Figure = Outline = Any  # type: ignore[assignment, misc]

__all__ = ["Axes", "Figure", "Outline"]

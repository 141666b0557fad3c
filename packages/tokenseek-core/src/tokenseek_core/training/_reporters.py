"""Who else is told of a run's losses."""

from __future__ import annotations

import importlib.util
from typing import Literal, TypeAlias

from tokenseek_common import InputError

Reporter: TypeAlias = Literal["none", "tensorboard", "wandb", "mlflow", "trackio"]
"""A program that draws losses, by the name of its package."""


def check_reporter(name: Reporter) -> None:
    """Refuse a reporter whose package is not installed.

    Raises:
        InputError: It is not.
    """
    if name != "none" and importlib.util.find_spec(name) is None:
        raise InputError(f"report_to ({name}) must have its package; pip install {name}")

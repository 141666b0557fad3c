"""How depth is measured, which no figure can be read without."""

from __future__ import annotations

from dataclasses import dataclass

from promotion.metrics._align import Alignment
from promotion.metrics._crop import Crop
from tokenseek_common import InputError


@dataclass(frozen=True, kw_only=True)
class DepthProtocol:
    """What two results must share to be compared."""

    alignment: Alignment
    """What is fitted to the truth of each image first."""

    crop: Crop
    """The part of each image that is measured."""

    min_depth: float
    """Nearest depth, in metres."""

    max_depth: float
    """Farthest depth, in metres."""

    def __post_init__(self) -> None:
        if self.min_depth <= 0:
            raise InputError(
                f"min_depth ({self.min_depth:g}) must be above 0, since errors are relative; "
                "take the nearest depth that the sensor can measure"
            )
        if self.max_depth <= self.min_depth:
            raise InputError(
                f"max_depth ({self.max_depth:g}) must be above min_depth ({self.min_depth:g}); "
                "raise the one or lower the other"
            )

    def __str__(self) -> str:
        depths = f"{self.min_depth:g} to {self.max_depth:g} m"
        return f"alignment {self.alignment}, crop {self.crop}, {depths}"

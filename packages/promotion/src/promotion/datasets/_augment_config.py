"""How much samples are varied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokenseek_common import InputError

_CHANCES = ("asymmetric", "stretch_chance", "flip_sideways", "flip_upside_down", "occlude")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How much samples are varied; the defaults are RAFT's for FlyingChairs.

    Raises:
        InputError: If a field is out of its range.

    Example:
        >>> AugmentConfig(flip_upside_down=0.0).scale
        (-0.2, 0.5)
    """

    brightness: float = 0.4
    """Colours are multiplied by up to 1 plus or minus this."""

    contrast: float = 0.4
    """Their distances from the mean grey, likewise."""

    saturation: float = 0.4
    """Their distances from their own grey, likewise."""

    hue: float = 0.16
    """Hues are turned by up to this share of a turn."""

    asymmetric: float = 0.2
    """Chance that the two frames are coloured independently."""

    scale: tuple[float, float] = (-0.2, 0.5)
    """Range of the logarithm, to base 2, of the magnification."""

    stretch: float = 0.2
    """Largest such logarithm for either axis on its own."""

    stretch_chance: float = 0.8
    """Chance that the axes are stretched."""

    flip_sideways: float = 0.5
    """Chance that left and right are exchanged."""

    flip_upside_down: float = 0.1
    """Chance that top and bottom are exchanged."""

    occlude: float = 0.5
    """Chance that one or two rectangles hide parts of the second frame."""

    occluder: tuple[float, float] = (0.1, 0.25)
    """Smallest and largest side of such a rectangle, as a share of the width."""

    scaled_depth: Literal["divided", "kept"] = "divided"
    """What magnification does to depth: divided for a camera that stays the same, as then depth
    and flow still fit each other, or kept for one whose focal length grows along."""

    @classmethod
    def sparse(cls) -> AugmentConfig:
        """RAFT's for KITTI, whose truth is sparse and whose scenes stand upright."""
        return cls(
            brightness=0.3,
            contrast=0.3,
            saturation=0.3,
            hue=0.1,
            asymmetric=0.0,
            stretch=0.0,
            flip_upside_down=0.0,
        )

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", *_CHANCES):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"{name} ({getattr(self, name):g}) must be from 0 to 1; choose another {name}"
                )
        if not 0 <= self.hue <= 0.5:
            raise InputError(f"hue ({self.hue:g}) must be from 0 to 0.5; choose another hue")
        if not 0 <= self.stretch <= 1:
            raise InputError(
                f"stretch ({self.stretch:g}) must be from 0 to 1; choose another stretch"
            )
        if not -3 <= self.scale[0] <= self.scale[1] <= 3:
            raise InputError(
                f"scale ({self.scale[0]:g}, {self.scale[1]:g}) must be two numbers from -3 to 3 in "
                "ascending order; choose another scale"
            )
        if not 0 < self.occluder[0] <= self.occluder[1] <= 1:
            raise InputError(
                f"occluder ({self.occluder[0]:g}, {self.occluder[1]:g}) must be two shares of the "
                "width in ascending order; choose another occluder"
            )

"""Sizes of the model, and which of its mechanisms are on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from promotion.nn import Assignment
from tokenseek_common import InputError

SizeName = Literal["nano", "tiny", "base", "large"]


@dataclass(frozen=True, kw_only=True)
class ProMotionConfig:
    """What a `ProMotion` model is made of; the defaults are the size "tiny".

    Raises:
        InputError: A value is out of its range.

    Example:
        >>> ProMotionConfig.size("base", prototypes=50).prototypes
        50
    """

    stem: int = 24
    """Channels at half the picture's size; a multiple of 8, as the next two."""

    quarter: int = 48
    """Channels at a quarter of the picture's size."""

    channels: int = 64
    """Channels of the features, at an eighth."""

    hidden: int = 64
    """Channels of the recurrent states."""

    denoiser_blocks: int = 2
    """Layers of the feature denoiser; 0 leaves the features as they are."""

    heads: int = 4
    """Subspaces of a denoising layer."""

    pooling: int = 1
    """Cells that are averaged to one key of the denoiser, along each axis."""

    prototypes: int = 32
    """K; 0 leaves out the prototypical learner."""

    dimensions: int = 32
    """Dimensions of the sphere that prototypes lie on."""

    em_steps: int = 3
    """Times that the prototypes are refined to each picture."""

    momentum: float = 0.99
    """Of the prototype memory; 1 keeps the prototypes where they began."""

    assignment: Assignment = "sinkhorn"
    """How tokens choose prototypes in training: balanced by Sinkhorn-Knopp, by k-means in each
    picture, or each the nearest."""

    memory: bool = True
    """Whether prototypes follow the tokens of all pictures, or are those of each picture alone."""

    radius: int = 3
    """Cells to each side that a lookup of correlations covers."""

    levels: int = 3
    """Levels of the correlation pyramid."""

    matching: int = 16
    """Window of the matching start, in cells to each side; 0 starts from no motion."""

    iterations: int = 8
    """Lookups and corrections of the flow decoder, unless a call says otherwise."""

    depth_steps: int = 4
    """Refinements of the depth decoder."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ZERO_IS_OFF else 1
            if type(value) is int and value < least:
                raise InputError(
                    f"{field.name} ({value}) must be at least {least}; choose a larger one"
                )
        for name in ("stem", "quarter", "channels"):
            if getattr(self, name) % 8:
                raise InputError(
                    f"{name} ({getattr(self, name)}) must be a multiple of 8, channels are "
                    "normalised eight together; choose another"
                )
        if self.assignment not in get_args(Assignment):
            raise InputError(
                f"assignment ({self.assignment}) must be one of "
                f"{', '.join(get_args(Assignment))}; choose one"
            )
        if self.channels % self.heads:
            raise InputError(
                f"channels ({self.channels}) must be divisible by heads ({self.heads}); "
                "choose another number of heads"
            )
        if not 0 <= self.momentum <= 1:
            raise InputError(
                f"momentum ({self.momentum}) must be from 0 to 1; 0.99 suits short trainings, "
                "0.999 long ones"
            )

    @classmethod
    def size(cls, name: SizeName, **changes: Any) -> ProMotionConfig:
        """A named size, with some values changed.

        Args:
            name: "nano" for tests, "tiny" for a CPU, "base" and "large" for a GPU.
            changes: Fields and their values.

        Raises:
            InputError: There is no such size or field.
        """
        if name not in SIZES:
            raise InputError(f"size ({name}) must be one of {', '.join(SIZES)}; choose one")
        cls.check_names(changes)
        return replace(cls(**SIZES[name]), **changes)

    @classmethod
    def check_names(cls, names: Iterable[str]) -> None:
        """Refuse what is no field.

        Raises:
            InputError: One is not.
        """
        known = {field.name for field in fields(cls)}
        for name in names:
            if name not in known:
                raise InputError(
                    f"{name} must be a field of the model's config; "
                    f"choose from {', '.join(sorted(known))}"
                )


ZERO_IS_OFF = ("denoiser_blocks", "prototypes", "em_steps", "matching")

SIZES: dict[str, dict[str, Any]] = {
    "nano": {
        "stem": 8,
        "quarter": 16,
        "channels": 32,
        "hidden": 32,
        "denoiser_blocks": 1,
        "prototypes": 8,
        "dimensions": 16,
        "radius": 2,
        "levels": 2,
        "iterations": 3,
        "depth_steps": 2,
    },
    "tiny": {},
    "base": {
        "stem": 64,
        "quarter": 96,
        "channels": 128,
        "hidden": 128,
        "denoiser_blocks": 4,
        "heads": 8,
        "prototypes": 100,
        "dimensions": 64,
        "momentum": 0.999,
        "radius": 4,
        "levels": 4,
        "iterations": 24,
    },
    "large": {
        "stem": 96,
        "quarter": 160,
        "channels": 256,
        "hidden": 192,
        "denoiser_blocks": 8,
        "heads": 8,
        "prototypes": 100,
        "dimensions": 128,
        "momentum": 0.999,
        "radius": 4,
        "levels": 4,
        "iterations": 24,
    },
}

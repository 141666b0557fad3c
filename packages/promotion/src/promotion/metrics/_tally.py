"""Means over a data set that are still being taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from tokenseek_common import InputError


@dataclass
class RunningMean:
    """A sum and the number of its terms."""

    total: float = 0.0
    count: int = 0

    def add(self, values: Tensor) -> None:
        """Take in every element of a tensor."""
        self.total += values.sum(dtype=torch.float64).item()
        self.count += values.numel()

    @property
    def mean(self) -> float:
        """The mean of what was taken in, which must be something."""
        return self.total / self.count

    @property
    def known(self) -> float | None:
        """The mean, or None where nothing was taken in."""
        return self.mean if self.count else None


@dataclass
class Tally:
    """The means of an accumulator, by name, and what they are taken over."""

    means: dict[str, RunningMean]
    pixels: int = field(default=0, init=False)
    images: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)

    @classmethod
    def of(cls, names: Iterable[str]) -> Tally:
        """Start with nothing under each name."""
        return cls({name: RunningMean() for name in names})

    def count(self, pixels: int) -> bool:
        """Count an image, and say whether it has any pixel to be measured at."""
        self.pixels += pixels
        self.images += pixels > 0
        self.skipped += pixels == 0
        return pixels > 0

    def merge(self, other: Tally) -> None:
        """Take in what another tally of the same names has counted."""
        for name, mean in other.means.items():
            self.means[name].total += mean.total
            self.means[name].count += mean.count
        self.pixels += other.pixels
        self.images += other.images
        self.skipped += other.skipped

    def check_measured(self) -> None:
        """Refuse to give means of nothing."""
        if not self.images:
            raise InputError(
                f"valid (no pixel in {self.skipped} images) must hold at least one pixel to "
                "measure at; give an image whose truth is known somewhere"
            )


def images_of(maps: Tensor, dims: int) -> Iterator[Tensor]:
    """Go through the images of a batch, or the only one, as float64 or bool on the CPU.

    There the sums are exact enough for any data set, whatever the device and its precision.
    """
    batch, shape = maps.shape[:-dims], maps.shape[-dims:]
    maps = maps.detach().reshape(batch.numel(), *shape).cpu()
    yield from maps.double() if maps.is_floating_point() else maps.bool()


def check_finite(name: str, values: Float[Tensor, "*n"]) -> None:
    """Refuse values that no error can be taken of."""
    bad = int((~values.isfinite()).sum())
    if bad:
        raise InputError(
            f"{name} ({bad} of {values.numel()} values are NaN or infinite) must be finite "
            "wherever the truth is valid; mend it, or leave those pixels out of valid"
        )

"""Shapes in a plane, known exactly: a radius as a function of the angle."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

_ANGLES = 256


@dataclass(frozen=True)
class Outline:
    """The points (s, t) of a plane with |(s / a, t / b)| < r(angle), perhaps cut into bars.

    Args:
        radius: r at equal angles from 0 to one turn, linear between them; the last repeats the
            first.
        half_sizes: a and b, in metres.
        bars: How many bars there are over a length of 2 a; 0 leaves the shape whole.
        fill: Share of the length that the bars take.
    """

    radius: Float[np.ndarray, "n"]
    half_sizes: tuple[float, float]
    bars: int = 0
    fill: float = 0.5

    def contains(
        self, s: Float[np.ndarray, "n"], t: Float[np.ndarray, "n"]
    ) -> Bool[np.ndarray, "n"]:
        """Which points lie inside."""
        s, t = s / self.half_sizes[0], t / self.half_sizes[1]
        turns = (np.arctan2(t, s) * ((len(self.radius) - 1) / (2 * np.pi))) % (len(self.radius) - 1)
        before = np.minimum(turns.astype(np.intp), len(self.radius) - 2)
        share = turns - before
        radius = self.radius.astype(s.dtype)
        limit = radius[before] * (1 - share) + radius[before + 1] * share
        inside: Bool[np.ndarray, "n"] = s * s + t * t < limit * limit
        if self.bars:
            inside &= (s * (self.bars / 2)) % 1 < self.fill
        return inside

    def corners(self) -> Float[np.ndarray, "4 2"]:
        """A rectangle around the shape."""
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64)
        corners: Float[np.ndarray, "4 2"] = signs * np.array(self.half_sizes) * self.radius.max()
        return corners


def rectangle(width: float, height: float) -> Outline:
    """A rectangle that is centred on the origin."""
    angle = _angles()
    largest = np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle)))
    return Outline(1 / largest, (width / 2, height / 2))


def draw_outline(rng: np.random.Generator, size: float, *, thin: bool) -> Outline:
    """Draw a blob, a polygon, a rounded rectangle, a rod or a fence.

    Args:
        rng: Where chance comes from.
        size: Its radius if it were a disc, in metres.
        thin: Whether it is a rod or a fence.
    """
    if thin and rng.random() < 0.6:
        slender = float(np.exp(rng.uniform(np.log(6), np.log(25))))
        return rectangle(5 * size, 5 * size / slender)
    if thin:
        fence = rectangle(2.6 * size, 2.6 * size)
        return replace(fence, bars=int(rng.integers(4, 10)), fill=rng.uniform(0.25, 0.6))
    aspect = np.exp(rng.normal(0, 0.35))
    half_sizes = (size * aspect, size / aspect)
    family = rng.random()
    if family < 0.55:
        return Outline(_blob(rng), half_sizes)
    if family < 0.8:
        return Outline(_rounded(rng), half_sizes)
    return Outline(_polygon(rng), half_sizes)


def _angles() -> Float[np.ndarray, "n"]:
    return np.linspace(0, 2 * np.pi, _ANGLES + 1)


def _blob(rng: np.random.Generator) -> Float[np.ndarray, "n"]:
    """1 plus a few harmonics, the higher the weaker."""
    order = np.arange(1, 1 + rng.integers(3, 9))
    strength = rng.uniform(0.1, 0.5) * rng.normal(size=len(order)) / order
    phase = rng.uniform(0, 2 * np.pi, len(order))
    waves = strength * np.cos(order * _angles()[:, None] + phase)
    return _closed(np.clip(1 + waves.sum(1), 0.25, 1.9))


def _rounded(rng: np.random.Generator) -> Float[np.ndarray, "n"]:
    """The unit circle of a p-norm: a rhombus at 1, a disc at 2, almost a square at 10."""
    power = np.exp(rng.uniform(np.log(1.1), np.log(10)))
    angle = _angles()
    norm = np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power
    return _closed(norm ** (-1 / power))


def _polygon(rng: np.random.Generator) -> Float[np.ndarray, "n"]:
    """A regular polygon, or a star with as many points."""
    sides = int(rng.integers(3, 8))
    angle = np.mod(_angles(), 2 * np.pi / sides) - np.pi / sides
    if rng.random() < 0.7:
        return _closed(np.cos(np.pi / sides) / np.cos(angle))
    return _closed(1 - rng.uniform(0.3, 0.7) * np.abs(angle) * sides / np.pi)


def _closed(radius: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    radius[-1] = radius[0]
    return radius

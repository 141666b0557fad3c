"""Square textures that repeat without a seam, each made once in a process and then kept.

A texture is a pyramid: every level has half the side of the one before, and one row and column
more than that, which repeat the first, so that bilinear sampling can run over the edge.
"""

from __future__ import annotations

import functools
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

SIDE = 256
PROCEDURAL = 64
"""How many procedural textures there are; their surfaces differ in much else."""

Pyramid: TypeAlias = tuple[Tensor, ...]

_LEVELS = 6
_LEAVES = 500


@functools.cache
def procedural_texture(number: int) -> Pyramid:
    """One of the procedural textures: noise, marble, patches, leaves, or stripes and checks."""
    rng = np.random.default_rng([number, SIDE])
    families = (_coloured_noise, _marble, _patches, _leaves, _leaves, _pattern)
    picture = families[number % len(families)](rng)
    grain = rng.uniform(0, 0.06) * _noise(rng, 0.6)
    return pyramid(np.clip(picture + grain, 0, 1))


@functools.cache
def grey_texture(number: int) -> Pyramid:
    """The light and shade of a procedural texture."""
    return tuple(level.mean(1, keepdim=True) for level in procedural_texture(number))


def pyramid(picture: Float[np.ndarray, "3 s s"]) -> Pyramid:
    """Halve a seamless picture again and again, and close each level at its edges."""
    level = torch.from_numpy(picture.astype(np.float32))[None]
    levels = []
    for _ in range(_LEVELS):
        levels.append(F.pad(level, (0, 1, 0, 1), mode="circular"))
        level = F.avg_pool2d(level, 2)
    return tuple(levels)


def _noise(rng: np.random.Generator, exponent: float) -> Float[np.ndarray, "s s"]:
    """Noise whose amplitude falls as 1 / f^exponent, mean 0 and deviation 1."""
    rows, columns = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    white = rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)
    field: Float[np.ndarray, "s s"] = np.fft.irfft2(white / frequency**exponent, s=(SIDE, SIDE))
    field -= field.mean()
    field /= field.std()
    return field


def _palette(rng: np.random.Generator, colours: int) -> Float[np.ndarray, "n 3"]:
    """Colours around one of their own: natural palettes are mostly muted."""
    base = rng.uniform(0.15, 0.85, 3)
    spread = rng.uniform(0.1, 0.3)
    lightness = rng.normal(0, 0.25, (colours, 1))
    return np.clip(base + lightness + spread * rng.normal(size=(colours, 3)), 0, 1)


def _coloured_noise(rng: np.random.Generator) -> Float[np.ndarray, "3 s s"]:
    """Light and shade in one noise, colour in smoother ones."""
    exponent = rng.uniform(0.7, 1.6)
    light = rng.uniform(0.1, 0.25) * _noise(rng, exponent)
    colour = [rng.uniform(0, 0.12) * _noise(rng, exponent + 0.4) for _ in range(3)]
    return np.clip(rng.uniform(0.25, 0.75, (3, 1, 1)) + light + np.stack(colour), 0, 1)


def _marble(rng: np.random.Generator) -> Float[np.ndarray, "3 s s"]:
    """A noise that runs through a palette from end to end."""
    palette = _palette(rng, int(rng.integers(3, 7)))
    place = 0.5 + 0.25 * _noise(rng, rng.uniform(0.9, 1.7))
    stops = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(place, stops, channel) for channel in palette.T])


def _patches(rng: np.random.Generator) -> Float[np.ndarray, "3 s s"]:
    """Flat patches with sharp outlines: what is largest there of a few noises."""
    colours = int(rng.integers(3, 7))
    exponent = rng.uniform(1.3, 2.2)
    fields = np.stack([_noise(rng, exponent) for _ in range(colours)])
    picture: Float[np.ndarray, "3 s s"] = _palette(rng, colours).T[:, fields.argmax(0)]
    picture *= 1 + rng.uniform(0.02, 0.15) * _noise(rng, 1.0)
    return picture


def _leaves(rng: np.random.Generator) -> Float[np.ndarray, "3 s s"]:
    """Discs and boxes of all sizes, each over the ones before: statistics of natural pictures."""
    palette = _palette(rng, 24)
    picture = np.full((SIDE, SIDE, 3), palette[0])
    smallest, boxes = np.exp(rng.uniform(np.log(2), np.log(8))), rng.random() < 0.4
    # density 1 / r^3 between the smallest radius and a third of the side
    radii = rng.uniform((SIDE / 3) ** -2, smallest**-2, _LEAVES) ** -0.5
    for radius, colour in zip(radii, palette[rng.integers(0, 24, _LEAVES)], strict=True):
        aspect, turn = np.exp(rng.normal(0, 0.4)), rng.uniform(0, np.pi)
        slope = rng.normal(0, 0.12, 2)
        reach = min(int(1.5 * radius * max(aspect, 1 / aspect)) + 1, SIDE // 2 - 1)
        columns = np.arange(-reach, reach + 1)[None]
        rows = columns.T
        u = (np.cos(turn) * columns + np.sin(turn) * rows) / (radius * aspect)
        v = (np.cos(turn) * rows - np.sin(turn) * columns) / (radius / aspect)
        inside = (np.maximum(abs(u), abs(v)) if boxes else np.hypot(u, v)) < 1
        top, left = rng.integers(0, SIDE, 2)
        at = np.ix_((rows[:, 0] + top) % SIDE, (columns[0] + left) % SIDE)
        shaded = colour * (1 + slope[0] * u + slope[1] * v)[..., None]
        picture[at] = np.where(inside[..., None], shaded, picture[at])
    return np.moveaxis(np.clip(picture, 0, 1), -1, 0)


def _pattern(rng: np.random.Generator) -> Float[np.ndarray, "3 s s"]:
    """Stripes, checks or bricks in two colours, worn by noise."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    across, along = rng.integers(3, 20), rng.integers(3, 20)
    wave = np.sin(2 * np.pi * across * columns)
    if rng.random() < 0.6:
        wave = wave * np.sin(2 * np.pi * along * rows)
    sharp = 0.5 + 0.5 * np.tanh(rng.uniform(1, 12) * wave)
    worn = np.clip(sharp + rng.uniform(0, 0.4) * _noise(rng, 1.2), 0, 1)
    first, second = _palette(rng, 2)[:, :, None, None]
    mixed: Float[np.ndarray, "3 s s"] = first * worn + second * (1 - worn)
    return mixed * (1 + 0.12 * _noise(rng, 1.1))

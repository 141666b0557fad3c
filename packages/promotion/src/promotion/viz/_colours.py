"""Colours that several pictures share."""

from __future__ import annotations

import functools

import torch
from jaxtyping import Bool, Float, UInt8
from kornia.color import ColorMap, ColorMapType, rgb_to_lab
from torch import Tensor

UNKNOWN = (128, 128, 128)
"""What is not known. No other part of a picture's scale is grey."""

OUT_OF_FRAME = (255, 0, 255)
"""What the second frame does not show."""


@functools.cache
def palette(name: str) -> UInt8[Tensor, "3 256"]:
    """256 colours of a colour map of kornia's, from its low to its high end."""
    return (ColorMap(ColorMapType[name], num_colors=256).colors * 255).round().to(torch.uint8)


def coloured(
    level: Float[Tensor, "h w"], name: str, known: Bool[Tensor, "h w"]
) -> UInt8[Tensor, "3 h w"]:
    """Colour a map of levels by a colour map; levels outside [0, 1] count as the nearer end."""
    # kornia's apply_colormap guesses the range of floats from their maximum: index instead
    index = (level.clamp(0, 1) * 255).round().long()
    return painted(palette(name)[:, index], ~known, UNKNOWN)


def painted(
    picture: UInt8[Tensor, "3 h w"], where: Bool[Tensor, "h w"], colour: tuple[int, int, int]
) -> UInt8[Tensor, "3 h w"]:
    """Give some pixels of a picture one colour."""
    return torch.where(where, torch.tensor(colour, dtype=torch.uint8)[:, None, None], picture)


@functools.lru_cache(maxsize=8)
def distinct_colours(count: int) -> UInt8[Tensor, "3 n"]:
    """Colours that are far from each other to the eye; the first ones do not depend on `count`.

    Each is the one farthest from all before it, in CIE Lab, where distances are as seen. Grey
    counts as taken, and what is too dark or too bright to show an image below is left out.
    """
    steps = torch.linspace(0, 1, 16)
    candidates = torch.cartesian_prod(steps, steps, steps).T  # 3 4096
    lightness = _lab(candidates)[0]
    candidates = candidates[:, (lightness > 40) & (lightness < 90)]
    lab = _lab(candidates)
    grey = _lab(torch.full((3, 1), 0.5))
    distance = (lab - grey).square().sum(0)
    chosen = []
    for _ in range(count):
        farthest = int(distance.argmax())
        chosen.append(farthest)
        distance = torch.minimum(distance, (lab - lab[:, farthest, None]).square().sum(0))
    return (candidates[:, chosen] * 255).round().to(torch.uint8)


def _lab(colours: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
    return rgb_to_lab(colours[:, None])[:, 0]

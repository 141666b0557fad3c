"""A sequence as an animated GIF of modest size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from promotion.viz import save_animation

LONGEST_SIDE = 640
"""Pixels of the longer side of an animation at most."""

FPS = 8
"""Frames a second."""

MOST_FRAMES = 100
"""Of an animation, which is in memory as a whole."""

WHITE = 255

T = TypeVar("T")


def every(height: int, width: int, *, longest: int = LONGEST_SIDE) -> int:
    """Of how many rows and columns one is shown."""
    return -(-max(height, width) // longest)


def sparse(frames: Sequence[T]) -> Sequence[T]:
    """All frames, or every so many where these are more than an animation has."""
    return frames[:: -(-len(frames) // MOST_FRAMES)]


def animate(path: Path, pictures: Sequence[UInt8[Tensor, "3 _ _"]]) -> None:
    """Write a GIF; what is smaller than the largest picture gets a white margin."""
    height = max(picture.shape[1] for picture in pictures)
    width = max(picture.shape[2] for picture in pictures)
    margins = ((0, width - p.shape[2], 0, height - p.shape[1]) for p in pictures)
    framed = [F.pad(p, m, value=WHITE) for p, m in zip(pictures, margins, strict=True)]
    save_animation(path, framed, fps=FPS)

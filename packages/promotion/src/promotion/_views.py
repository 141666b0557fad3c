"""The sizes at which pictures are seen, and what carries from one to the next.

The network looks for correspondences within a window, has cells of `STRIDE` pixels, and was trained
on pictures of about 192 x 256 pixels. So pictures are seen in several views, small ones first, each
search beginning where the one before ended. Small pictures are seen enlarged at the end, since a
cell of them would hide too much. Shapes: `h w` pixels of the pictures, `i j` those of a view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from promotion._pictures import SMALLEST_SIDE
from promotion.nn import STRIDE

FIRST_SIDE = 128
"""Pixels of the longer side that the first view has at most, and more than half of."""

TRAINED_PIXELS = 192 * 256
"""Of the largest pictures trained on: depth is found in views of no more."""

Quality = Literal["fast", "balanced", "best"]

MOST_PIXELS: dict[Quality, int] = {"fast": 2**17, "balanced": 3 * 2**19, "best": 2**22}
"""Of the last view that the network sees; what is finer is left to the photometric step."""


def views(height: int, width: int, quality: Quality = "balanced") -> list[float]:
    """Factors of size: the first view is small, each is twice the one before.

    The last has at most `MOST_PIXELS`, and is at most as large as the pictures, or twice as large
    where these are smaller than those trained on.
    """
    pixels = height * width
    largest = 1 if pixels <= TRAINED_PIXELS and quality != "fast" else 0
    last = min(largest, math.floor(math.log2(MOST_PIXELS[quality] / pixels) / 2))
    first = min(last, math.floor(math.log2(FIRST_SIDE / max(height, width))))
    return [2.0**power for power in range(first, last + 1)]


def depth_views(height: int, width: int, factors: Sequence[float]) -> list[float]:
    """Those of the views that depth is found in: none larger than pictures trained on.

    Of pictures that are smaller even when enlarged, the enlarged view alone.
    """
    if factors[-1] > 1 and factors[-1] ** 2 * height * width <= TRAINED_PIXELS:
        return [factors[-1]]
    small = [factor for factor in factors if factor**2 * height * width <= TRAINED_PIXELS]
    return small or [factors[0]]


def resized(picture: Float[Tensor, "3 h w"], factor: float) -> Float[Tensor, "3 i j"]:
    """A smaller or larger view, without aliasing."""
    height, width = (max(SMALLEST_SIDE, round(factor * side)) for side in picture.shape[-2:])
    return fitted(picture, height, width)


def fitted(maps: Float[Tensor, "c i j"], height: int, width: int) -> Float[Tensor, "c h w"]:
    """The same at a size."""
    if tuple(maps.shape[-2:]) == (height, width):
        return maps
    return F.interpolate(maps[None], (height, width), mode="bilinear", antialias=True)[0]


def fitted_flow(flow: Float[Tensor, "2 i j"], height: int, width: int) -> Float[Tensor, "2 h w"]:
    """The same of flow, in pixels of that size."""
    factors = flow.new_tensor([width / flow.shape[-1], height / flow.shape[-2]])
    return fitted(flow, height, width) * factors[:, None, None]


def pad(picture: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 i j"]:
    """Continue the last row and column until the sides are multiples of `STRIDE`."""
    height, width = picture.shape[-2:]
    return F.pad(picture, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")


def cut(maps: Float[Tensor, "c y x"], picture: Float[Tensor, "3 i j"]) -> Float[Tensor, "c i j"]:
    """Without what `pad` added."""
    return maps[..., : picture.shape[-2], : picture.shape[-1]]


def coarse_start(
    flow: Float[Tensor, "2 y x"], size: Sequence[int], padded: Sequence[int]
) -> Float[Tensor, "2 i j"]:
    """Flow of a smaller view as a start in the next one, in its cells, padding included."""
    height, width = size
    whole = fitted_flow(flow, height, width) / STRIDE
    whole = F.pad(whole, (0, padded[1] - width, 0, padded[0] - height), mode="replicate")
    return F.avg_pool2d(whole, STRIDE)

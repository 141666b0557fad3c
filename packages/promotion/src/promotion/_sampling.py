"""Maps looked up between their pixels."""

from __future__ import annotations

from jaxtyping import Float
from kornia.geometry.transform import remap
from torch import Tensor


def sampled(maps: Float[Tensor, "c h w"], places: Float[Tensor, "2 i j"]) -> Float[Tensor, "c i j"]:
    """Values at places (x, y), in pixels, by bilinear blending; beyond the border the border's."""
    x, y = places
    found: Tensor = remap(maps[None], x[None], y[None], padding_mode="border", align_corners=True)
    return found[0]

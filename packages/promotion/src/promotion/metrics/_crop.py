"""Which part of an image a depth benchmark looks at."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType

import torch
from jaxtyping import Bool
from torch import Tensor


class Crop(StrEnum):
    """The part of the image that depth is measured on.

    Two results with different crops cannot be compared. Both named crops were made for KITTI.
    """

    NONE = "none"
    """The whole image."""

    EIGEN = "eigen"
    """The crop of Eigen et al. (2014)."""

    GARG = "garg"
    """The crop of Garg et al. (2016), the usual one for KITTI's Eigen split."""


SHARES = MappingProxyType(
    {
        Crop.NONE: (0.0, 1.0, 0.0, 1.0),
        Crop.EIGEN: (0.3324324, 0.91351351, 0.0359477, 0.96405229),
        Crop.GARG: (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    }
)
"""First and last row, first and last column, as shares of height and width."""


def crop_mask(crop: Crop, height: int, width: int) -> Bool[Tensor, "h w"]:
    """Mark the pixels inside the crop; bounds are rounded down, as the benchmarks do."""
    top, bottom, left, right = SHARES[crop]
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
    return mask

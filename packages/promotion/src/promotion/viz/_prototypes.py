"""Which prototype each part of an image belongs to."""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer, UInt8
from kornia.color import rgb_to_grayscale
from torch import Tensor
from torch.nn import functional as F

from promotion.viz._colours import distinct_colours
from promotion.viz._pillow import to_bytes
from tokenseek_common import InputError


def prototype_overlay(
    assignment: Integer[Tensor, "gh gw"],
    image: Float[Tensor, "3 h w"],
    *,
    opacity: float = 0.6,
) -> UInt8[Tensor, "3 h w"]:
    """Lay the colour of each pixel's prototype over the grey image.

    A prototype has the same colour in every picture.

    Args:
        assignment: Index of each token's prototype; each token covers its share of the image.
        image: The image, in [0, 1].
        opacity: How much of the colours is seen, from 0 to 1.

    Returns:
        The blend, as large as the image.

    Raises:
        InputError: An index is negative, or `opacity` is not from 0 to 1.
    """
    if not 0 <= opacity <= 1:
        raise InputError(f"opacity ({opacity:g}) must be from 0 to 1; 0.6 shows image and colours")
    assignment = assignment.cpu().long()
    if (assignment < 0).any():
        raise InputError(
            f"assignment ({int(assignment.min())}) must hold indices from 0; "
            "give each token's prototype"
        )
    colours = distinct_colours(int(assignment.max()) + 1) / 255
    blocks = F.interpolate(
        colours[:, assignment][None], size=image.shape[-2:], mode="nearest-exact"
    )[0]
    grey = rgb_to_grayscale(image.detach().cpu())
    return to_bytes(torch.lerp(grey.expand_as(blocks), blocks, opacity))

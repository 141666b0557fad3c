"""Whether flow leads from one frame to the other."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, UInt8
from kornia.geometry.transform import remap
from torch import Tensor

from promotion.viz._colours import OUT_OF_FRAME, UNKNOWN, painted
from promotion.viz._known import known_part
from promotion.viz._pillow import to_bytes


def warp_overlay(
    image1: Float[Tensor, "3 h w"],
    image2: Float[Tensor, "3 h w"],
    flow: Float[Tensor, "2 h w"],
    valid: Bool[Tensor, "h w"] | None = None,
) -> UInt8[Tensor, "3 h w"]:
    """Bring the second frame back by the flow and lay it over the first, half and half.

    Where the flow is right and the pixel is seen in both frames, the first frame appears; where
    not, there are doubled edges. Pixels that leave the frame are magenta.

    Args:
        image1: First frame, in [0, 1].
        image2: Second frame.
        flow: Flow from the first to the second, in pixels.
        valid: Where it is known; the rest is grey.

    Returns:
        The blend, as large as the frames.

    Raises:
        InputError: A known vector is not finite.
    """
    flow, known = known_part("flow", flow, valid)
    height, width = flow.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = columns + flow[0], rows + flow[1]
    # without align_corners even a flow of 0 would blur
    warped = remap(image2.detach().cpu()[None], x[None], y[None], align_corners=True)[0]
    blend = to_bytes((image1.detach().cpu() + warped) / 2)

    outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    return painted(painted(blend, outside, OUT_OF_FRAME), ~known, UNKNOWN)

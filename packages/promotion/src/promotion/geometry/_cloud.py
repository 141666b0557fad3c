"""Points in space from depth, and their motion from depth and flow.

Camera coordinates: x to the right, y down, z ahead, in the unit of the depth. Shapes: `h w` pixels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from promotion._sampling import sampled
from promotion.nn._matching import grid
from tokenseek_common import InputError


def pinhole(focal: float, height: int, width: int) -> Float[Tensor, "3 3"]:
    """Intrinsics of a camera whose axis goes through the middle of the picture.

    Args:
        focal: Focal length in pixels.
        height: Of the picture.
        width: Of the picture.

    Raises:
        InputError: The focal length is not above 0.

    Example:
        >>> pinhole(500.0, 480, 640)[0].tolist()
        [500.0, 0.0, 319.5]
    """
    if not focal > 0:
        raise InputError(f"focal ({focal:g}) must be above 0 pixels; 0.9 of the width is usual")
    return torch.tensor(
        [[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]]
    )


def point_cloud(
    depth: Float[Tensor, "h w"], intrinsics: Float[Tensor, "3 3"]
) -> Float[Tensor, "3 h w"]:
    """The point in space that each pixel shows, ``X = z K^-1 (x, y, 1)``.

    Args:
        depth: z of each pixel; 0 where it is unknown, which gives a point at the camera.
        intrinsics: K.
    """
    return _lifted(grid(*depth.shape, like=depth), depth, intrinsics)


def scene_flow(
    depth1: Float[Tensor, "h w"],
    depth2: Float[Tensor, "h w"],
    flow: Float[Tensor, "2 h w"],
    intrinsics: Float[Tensor, "3 3"],
) -> Float[Tensor, "3 h w"]:
    """How far the point that each pixel of the first frame shows has moved in space.

    The point is seen at p + f in the second frame. Its depth there is blended between pixels as
    inverse depth, which is exact on planes. Where the second frame hides it, this is the
    motion to what hides it.

    Args:
        depth1: Depth of the first frame.
        depth2: Depth of the second, in the same unit.
        flow: Motion from the first to the second, in pixels (right, down).
        intrinsics: K, of both frames.

    Raises:
        InputError: The second depth is not above 0 somewhere.
    """
    if not (depth2 > 0).all():
        raise InputError(
            f"depth2 ({int((depth2 <= 0).sum())} pixels) must be above 0 everywhere; fill it first"
        )
    landed = grid(*depth1.shape, like=depth1) + flow
    there = 1 / sampled(1 / depth2[None], landed)[0]
    return _lifted(landed, there, intrinsics) - point_cloud(depth1, intrinsics)


def _lifted(
    places: Float[Tensor, "2 h w"], depth: Float[Tensor, "h w"], intrinsics: Float[Tensor, "3 3"]
) -> Float[Tensor, "3 h w"]:
    pixels = torch.cat([places, torch.ones_like(places[:1])])
    rays = torch.einsum("ij,jhw->ihw", intrinsics.to(depth).inverse(), pixels)
    return depth * rays

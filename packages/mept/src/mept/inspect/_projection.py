"""States in two dimensions.

Shapes: `s` samples, `d` hidden size.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_AXES = 2


def principal_components(
    points: Float[Tensor, "s d"],
) -> tuple[Float[Tensor, "s 2"], Float[Tensor, "2"]]:
    """The coordinates of points on the two directions in which they differ most.

    The sign of a direction is such that its largest weight is above 0, so that the same points
    always give the same picture.

    Args:
        points: The states.

    Returns:
        The coordinates, and the share of the variance along each direction; zeros for directions
        that there are not.
    """
    centred = points.double() - points.double().mean(0)
    left, scales, directions = torch.linalg.svd(centred, full_matrices=False)
    largest = directions.take_along_dim(directions.abs().argmax(1, keepdim=True), dim=1)
    coordinates = left * scales * largest.sign().T  # [s, min(s, d)]
    shares = scales.square() / scales.square().sum().clamp(min=torch.finfo(torch.double).tiny)
    missing = (0, max(0, _AXES - len(scales)))
    pad = torch.nn.functional.pad
    return pad(coordinates, missing)[:, :_AXES], pad(shares, missing)[:_AXES]

"""What the model finds in one or two pictures."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Motion:
    """What is found in one or two pictures; what needs both, or was not asked for, is None.

    Args:
        flow: Motion of each pixel of the first picture, in pixels (right, down).
        depth: Of the first picture, relative: its scale is that of the picture alone, in metres as
            far as the training was metric.
        confidence: How well the flow there and back agree, from 0 to 1:
            ``exp(-|f(x) + b(x + f(x))|^2 / (0.01 (|f|^2 + |b|^2) + 0.5))``, 0 outside the picture;
            times ``s / (s + s0)`` of the mean squared slope s of the brightness around the pixel,
            since without texture nothing can be told.
        occlusion: Where the flow there and back agree by less than 1/e, the criterion of Sundaram,
            Brox and Keutzer, "Dense Point Trajectories" (2010).
        assignments: The prototype of each pixel, constant over cells of `STRIDE` pixels.
    """

    flow: Float[Tensor, "2 h w"] | None
    depth: Float[Tensor, "h w"]
    confidence: Float[Tensor, "h w"] | None
    occlusion: Bool[Tensor, "h w"] | None
    assignments: Int[Tensor, "h w"] | None

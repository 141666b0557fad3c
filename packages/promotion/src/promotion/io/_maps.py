"""What a reader gives: values, and beside them where they are known."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float32
from torch import Tensor


@dataclass(frozen=True, eq=False)  # a comparison of tensors has no single answer
class FlowMap:
    """Optical flow as a file holds it.

    Args:
        flow: Motion in pixels (right, down), 0 where unknown.
        valid: Where the motion is known.
    """

    flow: Float32[Tensor, "2 h w"]
    valid: Bool[Tensor, "h w"]


@dataclass(frozen=True, eq=False)  # a comparison of tensors has no single answer
class DepthMap:
    """Depth as a file holds it.

    Args:
        depth: Distance along the optical axis in metres, 0 where unknown.
        valid: Where the depth is known.
    """

    depth: Float32[Tensor, "h w"]
    valid: Bool[Tensor, "h w"]

"""What is trained on: two frames and, where it is known, their motion and depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """Two frames and their truth, alone or as a batch; truth that is absent is nowhere valid.

    Args:
        image1: First frame, in [0, 1].
        image2: Second frame; a frame without a partner stands here twice.
        flow: Motion from the first frame to the second, in pixels (right, down), 0 where unknown.
        flow_valid: Where the motion is known.
        depth: Depth of the first frame, in metres, 0 where unknown.
        depth_valid: Where the depth is known.
    """

    image1: Float[Tensor, "*b 3 h w"]
    image2: Float[Tensor, "*b 3 h w"]
    flow: Float[Tensor, "*b 2 h w"]
    flow_valid: Bool[Tensor, "*b h w"]
    depth: Float[Tensor, "*b h w"]
    depth_valid: Bool[Tensor, "*b h w"]

    @property
    def alone(self) -> bool:
        """Whether the first frame has no partner, but stands twice."""
        return not self.flow_valid.any() and self.image1.equal(self.image2)

    @classmethod
    def stack(cls, samples: Sequence[Sample]) -> Sample:
        """Make a batch of samples of one size."""
        names = [field.name for field in fields(cls)]
        return cls(*(torch.stack([getattr(s, name) for s in samples]) for name in names))

    def to(self, device: torch.device | str) -> Sample:
        """The same on another device."""
        moved = (getattr(self, field.name).to(device) for field in fields(self))
        return Sample(*moved)

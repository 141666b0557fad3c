"""Frame encoder: a convolutional stem and residual stages, down to an eighth of the picture.

Nothing in it looks across the batch, so both frames can be encoded as one.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STRIDE = 8
"""Pixels of a picture to a cell of its features, along each axis."""


class ResidualBlock(nn.Module):
    """``y = relu(shortcut(x) + conv(relu(conv(x))))``, each convolution normalised in groups.

    Args:
        entering: Channels of the input.
        leaving: Channels of the output.
        stride: Step of the first convolution and of the shortcut.
    """

    def __init__(self, entering: int, leaving: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(entering, leaving, 3, stride=stride, padding=1, bias=False)
        self.norm1 = group_norm(leaving)
        self.second = nn.Conv2d(leaving, leaving, 3, padding=1, bias=False)
        self.norm2 = group_norm(leaving)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and entering == leaving
            else nn.Conv2d(entering, leaving, 1, stride=stride)
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Apply the block."""
        y = F.relu(self.norm1(self.first(x)))
        y = self.norm2(self.second(y))
        return F.relu(self.shortcut(x) + y)


class Encoder(nn.Module):
    """Pictures to features at an eighth of their size.

    Args:
        channels: Channels of the stem (at 1/2), and of the stages at 1/4 and 1/8.
        depth: Residual blocks of each stage.
    """

    def __init__(self, channels: tuple[int, int, int], *, depth: int = 2) -> None:
        super().__init__()
        stem, quarter, eighth = channels
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False), group_norm(stem), nn.ReLU()
        )
        self.quarter = _stage(stem, quarter, depth)
        self.eighth = _stage(quarter, eighth, depth)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c i j"]:
        """Encode pictures in [0, 1] whose sides are multiples of `STRIDE`."""
        features: Tensor = self.eighth(self.quarter(self.stem(2 * image - 1)))
        return features


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalise eight channels together."""
    return nn.GroupNorm(channels // 8, channels)


def _stage(entering: int, leaving: int, depth: int) -> nn.Sequential:
    blocks = [ResidualBlock(entering, leaving, stride=2)]
    blocks += [ResidualBlock(leaving, leaving) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)

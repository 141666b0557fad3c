"""What is painted on a plane: a texture in metric coordinates, recoloured and shaded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from promotion.scenes._textures import Pyramid


@dataclass(frozen=True)
class Layer:
    """A texture at some scale.

    Args:
        texture: Its levels.
        density: Texels of the first level per metre.
        shift: Where the origin of the plane lies in it, in texels.
    """

    texture: Pyramid
    density: float
    shift: tuple[float, float]

    def sample(
        self,
        s: Float[np.ndarray, "n"],
        t: Float[np.ndarray, "n"],
        footprint: Float[np.ndarray, "n"],
    ) -> Float[np.ndarray, "n c"]:
        """Colours at points of the plane, each as blurred as a pixel is large there.

        Args:
            s: First coordinate, in metres.
            t: Second coordinate, in metres.
            footprint: Side of the pixel on the plane, in metres.
        """
        u = torch.from_numpy(s * np.float32(self.density) + np.float32(self.shift[0]))
        v = torch.from_numpy(t * np.float32(self.density) + np.float32(self.shift[1]))
        detail = np.log2(np.maximum(footprint * np.float32(self.density), 1)) + np.float32(0.5)
        level = np.minimum(detail.astype(np.int8), len(self.texture) - 1)
        finest, coarsest = int(level.min()), int(level.max())
        if finest == coarsest:
            return _bilinear(self.texture[finest], u, v, 2**finest)
        colours = np.empty((len(s), self.texture[0].shape[1]), dtype=np.float32)
        for number in range(finest, coarsest + 1):
            here = np.flatnonzero(level == number)
            colours[here] = _bilinear(self.texture[number], u[here], v[here], 2**number)
        return colours


def _bilinear(
    level: Float[Tensor, "1 c r r"], u: Float[Tensor, "n"], v: Float[Tensor, "n"], texel: int
) -> Float[np.ndarray, "n c"]:
    """Sample a level whose texels are this many of the first level's wide."""
    side = level.shape[-1] - 1
    places = torch.stack([u, v], dim=-1).add_(0.5).div_(texel).sub_(0.5)
    places = places.remainder_(side).mul_(2 / side).sub_(1)
    sampled = F.grid_sample(level, places[None, None], padding_mode="border", align_corners=True)
    colours: Float[np.ndarray, "n c"] = sampled[0, :, 0].T.numpy()
    return colours


@dataclass(frozen=True)
class Surface:
    """A base texture, its recolouring, and finer grain upon it.

    Args:
        base: Gives the colours.
        mixing: Colour c becomes mixing c + offset.
        offset: See there.
        grain: A second texture, grey; it modulates the colours.
        grain_strength: How much.
        slope: By how much a metre along each axis is lighter, as a share.
    """

    base: Layer
    mixing: Float[np.ndarray, "3 3"]
    offset: Float[np.ndarray, "3"]
    grain: Layer
    grain_strength: float
    slope: tuple[float, float]

    def colours(
        self,
        s: Float[np.ndarray, "n"],
        t: Float[np.ndarray, "n"],
        footprint: Float[np.ndarray, "n"],
    ) -> Float[np.ndarray, "n 3"]:
        """Colours at points of the plane; arguments as those of `Layer.sample`."""
        colours = self.base.sample(s, t, footprint) @ self.mixing.T.astype(np.float32)
        colours += self.offset.astype(np.float32)
        light = 1 + np.clip(
            s * np.float32(self.slope[0]) + t * np.float32(self.slope[1]), -0.6, 0.6
        )
        if self.grain_strength > 0:
            grey = self.grain.sample(s, t, footprint)[:, 0] - np.float32(0.5)
            light += np.float32(self.grain_strength) * grey
        # flattened towards black and white, where cutting off would leave nothing to be matched
        lit: Float[np.ndarray, "n 3"] = np.tanh(2 * colours * light[:, None] - 1)
        return np.float32(0.5) + np.float32(0.5) * lit

r"""The photometric last step: motion that the pictures themselves confirm, pixel by pixel.

Of the grey pictures I, slightly blurred, both derivatives g_k are to stay the same along the
motion w, and w is to be smooth except at edges of its own:

    E(w) = sum_x psi_r(sum_k |g2_k(x + w) - g1_k(x)|^2 / (|grad g_k|^2 + NORM^2))
           + SMOOTHNESS sum_{x ~ y} psi_s(|w(x) - w(y)|),    psi_e(t^2) = 2 sqrt(t^2 + e^2)

Derivatives in place of brightness, since light may change. Each step warps the second picture,
makes the robust terms quadratic where it stands, and solves for a correction by conjugate
gradients. From Brox et al., "High Accuracy Optical Flow Estimation Based on a Theory for Warping"
(2004), the normalisation from Zimmer et al., "Optic Flow in Harmony" (2011).
Shapes: `h w` pixels, `k` = 2 derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from kornia.color import rgb_to_grayscale
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import remap
from torch import Tensor

from promotion.nn._matching import grid

SMOOTHNESS = 1.0
"""Weight of the smoothness; chosen on generated scenes, as are the numbers below."""

BLUR = 0.6
"""Standard deviation of the blur, in pixels."""

NORM = 0.02
"""Slope of a derivative below which it counts less."""

RESIDUAL_EDGE = 1e-3
"""Normalised residual, in pixels, from which on it counts by its length."""

MOTION_EDGE = 0.1
"""Difference of neighbouring motions, in pixels, from which on it counts by its length."""

WARPS, SOLVER_STEPS = 6, 10


@dataclass(frozen=True)
class QuadraticEnergy:
    """``d^T A d - 2 b^T d`` of a correction d of the motion, up to a constant.

    Args:
        xx: Of the data, u u; `xy` and `yy` alike.
        right: Weight of the smoothness between a pixel and its right neighbour.
        down: The same of its lower neighbour.
        b: The right side.
    """

    xx: Float[Tensor, "h w"]
    xy: Float[Tensor, "h w"]
    yy: Float[Tensor, "h w"]
    right: Float[Tensor, "h v"]
    down: Float[Tensor, "u w"]
    b: Float[Tensor, "2 h w"]

    def apply(self, d: Float[Tensor, "2 h w"]) -> Float[Tensor, "2 h w"]:
        """A d."""
        product = roughness(d, self.right, self.down)
        product[0].addcmul_(self.xx, d[0]).addcmul_(self.xy, d[1])
        product[1].addcmul_(self.xy, d[0]).addcmul_(self.yy, d[1])
        return product

    def solve(self, steps: int) -> Float[Tensor, "2 h w"]:
        """Conjugate gradients from zero, preconditioned by the 2 x 2 blocks of each pixel."""
        weights = F.pad(self.right, (0, 1)) + F.pad(self.right, (1, 0))
        weights = weights + F.pad(self.down, (0, 0, 0, 1)) + F.pad(self.down, (0, 0, 1, 0))
        xx, yy = self.xx + weights, self.yy + weights
        scale = 1 / (xx * yy - self.xy.square())
        xx, xy, yy = xx * scale, self.xy * scale, yy * scale

        def precondition(r: Tensor) -> Tensor:
            return torch.stack([yy * r[0] - xy * r[1], xx * r[1] - xy * r[0]])

        found, rest = torch.zeros_like(self.b), self.b.clone()
        step = precondition(rest)
        gain = (rest * step).sum()
        direction = step.clone()
        tiny = torch.finfo(gain.dtype).tiny  # where nothing is left to solve
        for _ in range(steps):
            changed = self.apply(direction)
            length = gain / (direction * changed).sum().clamp_min(tiny)
            found += length * direction
            rest -= length * changed
            step = precondition(rest)
            before, gain = gain, (rest * step).sum()
            direction = step.add_((gain / before.clamp_min(tiny)) * direction)
        return found


@torch.no_grad()
def refine(
    image1: Float[Tensor, "3 h w"],
    image2: Float[Tensor, "3 h w"],
    flow: Float[Tensor, "2 h w"],
    *,
    warps: int = WARPS,
) -> Float[Tensor, "2 h w"]:
    """Refine motion until the pictures agree along it.

    Args:
        image1: First picture, in [0, 1].
        image2: Second picture.
        flow: Motion to begin with, in pixels (right, down), right to about two pixels.
        warps: Times that the second picture is brought back and the motion corrected.

    Returns:
        The motion refined, in the precision of the pictures.
    """
    first, second = derivatives(image1), derivatives(image2)
    flow = flow.to(image1)
    for _ in range(warps):
        flow = flow + linearised(first, second, flow).solve(SOLVER_STEPS)
    return flow


def linearised(
    first: tuple[Tensor, Tensor, Tensor],
    second: tuple[Tensor, Tensor, Tensor],
    flow: Float[Tensor, "2 h w"],
) -> QuadraticEnergy:
    """The energy around a motion, as quadratic in its correction."""
    height, width = flow.shape[1:]
    x, y = grid(height, width, like=flow) + flow
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    warped = remap(torch.cat(second)[None], x[None], y[None], "bilinear", "border", True)[0]
    there, there_x, there_y = warped.chunk(3)
    here, here_x, here_y = first
    residual = there - here
    along_x, along_y = (there_x + here_x) / 2, (there_y + here_y) / 2
    weight = inside / (along_x.square() + along_y.square() + NORM**2)
    weight = weight / ((weight * residual.square()).sum(0) + RESIDUAL_EDGE**2).sqrt()
    steps = flow[:, :, 1:] - flow[:, :, :-1], flow[:, 1:] - flow[:, :-1]
    right, down = (SMOOTHNESS / (step.square().sum(0) + MOTION_EDGE**2).sqrt() for step in steps)
    pull = torch.stack([(weight * along * residual).sum(0) for along in (along_x, along_y)])
    return QuadraticEnergy(
        xx=(weight * along_x.square()).sum(0),
        xy=(weight * along_x * along_y).sum(0),
        yy=(weight * along_y.square()).sum(0),
        right=right,
        down=down,
        b=-pull - roughness(flow, right, down),
    )


def derivatives(
    image: Float[Tensor, "3 h w"],
) -> tuple[Float[Tensor, "k h w"], Float[Tensor, "k h w"], Float[Tensor, "k h w"]]:
    """Those of the blurred grey picture, and their own along x and along y."""
    grey = rgb_to_grayscale(image[None])
    with torch.autocast(image.device.type, enabled=False):  # half precision shows steps as slopes
        grey = gaussian_blur2d(grey, (5, 5), (BLUR, BLUR), "replicate")[0]
    slopes = torch.cat([along(grey, 2), along(grey, 1)])
    return slopes, along(slopes, 2), along(slopes, 1)


def along(maps: Float[Tensor, "c h w"], axis: int) -> Float[Tensor, "c h w"]:
    """Central differences along an axis; outermost values go on."""
    size = maps.shape[axis]
    outer = maps.narrow(axis, 0, 1), maps, maps.narrow(axis, size - 1, 1)
    longer = torch.cat(outer, axis)
    return (longer.narrow(axis, 2, size) - longer.narrow(axis, 0, size)) / 2


def roughness(
    w: Float[Tensor, "2 h w"], right: Float[Tensor, "h v"], down: Float[Tensor, "u w"]
) -> Float[Tensor, "2 h w"]:
    """Weighted differences of each pixel from its neighbours, summed."""
    across = right * (w[:, :, :-1] - w[:, :, 1:])
    along_y = down * (w[:, :-1] - w[:, 1:])
    rough = torch.zeros_like(w)
    rough[:, :, :-1] += across
    rough[:, :, 1:] -= across
    rough[:, :-1] += along_y
    rough[:, 1:] -= along_y
    return rough

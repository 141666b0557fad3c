"""What training minimises: flow and depth at every step, denoising, and the margin.

    L = L_flow + a L_depth + b L_denoising + c L_margin

Shapes: `b` batch, `p` pictures (first and second frames), `h w` pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from promotion._model import ProMotionOutput
from promotion.datasets import Sample
from tokenseek_common import InputError

LARGEST_FLOW = 400.0
"""Pixels beyond which a true motion is not learned from."""

DEPTH_RANGE = (0.1, 80.0)
"""Metres between which a true depth is learned from."""


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the parts, and how much less an earlier step of a decoder counts.

    Raises:
        InputError: A weight is negative, or a factor is not in (0, 1].
    """

    flow_gamma: float = 0.8
    """Each earlier flow counts by this factor less."""

    depth_gamma: float = 0.85
    """Each earlier depth counts by this factor less."""

    scale_invariance: float = 0.85
    """Share of the scale error that the depth loss forgives: 1 learns relative depth only."""

    relative: float = 0.0
    """Share of the relative depth error, beside the logarithmic one, in the depth loss."""

    depth: float = 1.0
    """a."""

    denoising: float = 0.05
    """b."""

    margin: float = 0.05
    """c."""

    def __post_init__(self) -> None:
        for name in ("flow_gamma", "depth_gamma"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(
                    f"{name} ({getattr(self, name)}) must be above 0 and at most 1; 0.8 is usual"
                )
        for name in ("scale_invariance", "relative", "depth", "denoising", "margin"):
            if not getattr(self, name) >= 0:
                raise InputError(
                    f"{name} ({getattr(self, name)}) must be at least 0; 0 switches it off"
                )


@dataclass(frozen=True)
class Losses:
    """The sum and its parts; a part that nothing was known of is 0."""

    total: Float[Tensor, ""]
    flow: Float[Tensor, ""]
    depth: Float[Tensor, ""]
    denoising: Float[Tensor, ""]
    margin: Float[Tensor, ""]


def losses(output: ProMotionOutput, sample: Sample, config: LossConfig) -> Losses:
    """The loss of a batch, each part over the pictures whose truth is known."""
    zero = sample.image1.new_zeros(())
    flow = sequence(
        [flow_loss(flow, sample.flow, sample.flow_valid) for flow in output.flows],
        config.flow_gamma,
        zero,
    )
    depth = sequence(
        [depth_loss(depth, sample.depth, sample.depth_valid, config) for depth in output.depths],
        config.depth_gamma,
        zero,
    )
    denoising = zero if output.denoising_loss is None else output.denoising_loss.mean()
    margin = zero if output.margin_loss is None else output.margin_loss.mean()
    total = flow + config.depth * depth + config.denoising * denoising + config.margin * margin
    return Losses(total, flow, depth, denoising, margin)


def sequence(
    steps: Sequence[Float[Tensor, ""]], gamma: float, zero: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """``sum_i gamma^(T - i) loss_i``: the last step counts in full (RAFT, Eq. 7)."""
    return sum((gamma**age * loss for age, loss in enumerate(reversed(steps))), zero)


def flow_loss(
    flow: Float[Tensor, "b 2 h w"], target: Float[Tensor, "b 2 h w"], valid: Bool[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """``mean_valid |f - f*|_1``; sparse truth weighs as much as dense."""
    known = valid & (target.square().sum(1) < LARGEST_FLOW**2)
    error = (flow - target).abs().sum(1)
    total = torch.where(known, error, 0).sum()
    mean: Tensor = total / known.sum().clamp_min(1)
    return mean


def depth_loss(
    depth: Float[Tensor, "b h w"],
    target: Float[Tensor, "b h w"],
    valid: Bool[Tensor, "b h w"],
    config: LossConfig,
) -> Float[Tensor, ""]:
    """The logarithmic error, and the relative one as far as it is asked for."""
    low, high = DEPTH_RANGE
    known = valid & (target >= low) & (target <= high)
    loss = log_depth_loss(depth, target, known, config.scale_invariance)
    if config.relative:
        loss = loss + config.relative * relative_depth_loss(depth, target, known)
    return loss


def log_depth_loss(
    depth: Float[Tensor, "b h w"],
    target: Float[Tensor, "b h w"],
    known: Bool[Tensor, "b h w"],
    scale_invariance: float,
) -> Float[Tensor, ""]:
    """``sqrt(mean d^2 - lambda (mean d)^2)``, d = log z - log z*, the mean over known pictures.

    Source:
        Eigen, Puhrsch and Fergus (2014), with the root of Lee et al., "From Big to Small" (2019).
    """
    difference = torch.where(known, depth.log() - torch.where(known, target, 1).log(), 0)
    count = known.sum((1, 2))
    mean = difference.sum((1, 2)) / count.clamp_min(1)
    square = difference.square().sum((1, 2)) / count.clamp_min(1)
    variance = square - scale_invariance * mean.square()
    # A picture without truth has variance 0, where the root has no gradient.
    roots = torch.where(count > 0, variance, 1).clamp_min(1e-8).sqrt()
    return torch.where(count > 0, roots, 0).sum() / (count > 0).sum().clamp_min(1)


def relative_depth_loss(
    depth: Float[Tensor, "b h w"], target: Float[Tensor, "b h w"], known: Bool[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """``mean |s z - z*| / z*``, log s = -mean d, the mean over known pictures.

    Abs Rel of relative depth. The logarithmic error takes a near thing seen twice too far for no
    worse than one seen half as far; here it is twice as bad. The gradient flows through s too: it
    would otherwise shrink all depths for ever, which s makes good.
    """
    difference = torch.where(known, depth.log() - torch.where(known, target, 1).log(), 0)
    count = known.sum((1, 2))
    mean = difference.sum((1, 2)) / count.clamp_min(1)
    error = torch.where(known, (difference - mean[:, None, None]).expm1().abs(), 0)
    return (error.sum((1, 2)) / count.clamp_min(1)).sum() / (count > 0).sum().clamp_min(1)

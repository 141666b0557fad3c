"""Whether groups of samples pass through the same units of the feed-forward layers.

The paper draws the pathway of a task as the units that it activates, and its code does not measure
them. This definition is ours.

Shapes: `l` layers, `s` samples, `u` units, `g` groups.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ACTIVE_SHARE = 0.1


def active_units(
    activations: Float[Tensor, "l s u"], share: float = ACTIVE_SHARE
) -> Bool[Tensor, "l s u"]:
    """The units of each layer that are largest for a sample, and not zero.

    Args:
        activations: The mean absolute value of each unit over the tokens of each sample.
        share: Which part of a layer's units are called active, rounded up.
    """
    count = math.ceil(share * activations.shape[-1])
    largest = activations.topk(count, dim=-1).indices
    found = torch.zeros_like(activations, dtype=torch.bool).scatter(-1, largest, True)
    return found & (activations > 0)


def unit_overlap(
    active: Bool[Tensor, "l s u"], groups: Int[Tensor, " s"]
) -> Float[Tensor, "l g g"]:
    """How far two groups activate the same units, in every layer.

    With f_a(u) the share of the samples of a that unit u is active for,

        overlap(a, b) = sum_u min(f_a(u), f_b(u)) / sum_u max(f_a(u), f_b(u)),

    the Jaccard index of the two sets of units where all samples of a group activate the same, or
    where each has one sample: 1 is the same units equally often, 0 none in common.

    Args:
        active: The units of each sample, of `active_units`.
        groups: The group of each sample, from 0 on without a gap.

    Returns:
        The overlaps of all pairs; 0 where neither activates any.
    """
    count = int(groups.max()) + 1
    often = torch.stack([active[:, groups == g].double().mean(1) for g in range(count)], dim=1)
    pairs = often[:, :, None], often[:, None, :]  # [l, g, 1, u], [l, 1, g, u]
    return torch.minimum(*pairs).sum(-1) / torch.maximum(*pairs).sum(-1).clamp(min=1e-12)

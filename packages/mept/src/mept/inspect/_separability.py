"""How far apart groups of samples lie in the states that a router sees.

Shapes: `s` samples, `d` hidden size, `g` groups.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def silhouette(points: Float[Tensor, "s d"], groups: Int[Tensor, " s"]) -> float:
    """The mean silhouette of points in groups, from -1 to 1: 1 is far apart, 0 is overlapping.

    With a the mean distance of a point to the others of its group, and b the least of its mean
    distances to the points of another group, its silhouette is (b - a) / max(a, b), and 0 where it
    is alone in its group.

    Args:
        points: The states.
        groups: The group of each, from 0 on without a gap.

    Returns:
        The mean over all points; nan where there is one group.

    Source: Rousseeuw, "Silhouettes" (1987).
    """
    member = F.one_hot(groups).double()  # [s, g]
    sizes = member.sum(0)
    if len(sizes) < 2:
        return math.nan
    total = _distances(points.double(), points.double()) @ member  # [s, g]
    own = member.bool()
    others = sizes[groups] - 1
    within = total[own] / others.clamp(min=1)
    between = (total / sizes).masked_fill(own, math.inf).amin(1)
    larger = torch.maximum(within, between)
    return float(torch.where((others > 0) & (larger > 0), (between - within) / larger, 0).mean())


def centroid_accuracy(points: Float[Tensor, "s d"], groups: Int[Tensor, " s"]) -> float:
    """The share of points whose own group has the nearest centroid, each point left out in turn.

    Args:
        points: The states.
        groups: The group of each, from 0 on without a gap.

    Returns:
        The share; nan where there is one group. A point that is alone in its group has no centroid
        to be nearest to.
    """
    member = F.one_hot(groups).double()
    sizes = member.sum(0)
    if len(sizes) < 2:
        return math.nan
    points = points.double()
    total = member.T @ points  # [g, d]
    others = sizes[groups] - 1
    to_others = _distances(points, total / sizes[:, None])  # [s, g]
    without = (total[groups] - points) / others.clamp(min=1)[:, None]
    to_own = (points - without).norm(dim=1).masked_fill(others == 0, math.inf)
    nearest_other = to_others.masked_fill(member.bool(), math.inf).amin(1)
    return float((to_own < nearest_other).double().mean())


def _distances(points: Float[Tensor, "s d"], others: Float[Tensor, "t d"]) -> Float[Tensor, "s t"]:
    # Not by matrix products, whose differences of large numbers lose the small distances.
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")

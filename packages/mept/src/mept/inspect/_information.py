"""How evenly experts are used, and how much an expert tells of the group of a sample.

Shapes: `l` layers, `s` samples, `e` experts, `g` groups.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def entropy(shares: Float[Tensor, "*l e"]) -> Float[Tensor, "*l"]:
    """The entropy of distributions in nats, -sum_e p_e log p_e: 0 where all lies on one.

    Example:
        >>> entropy(torch.tensor([0.25, 0.25, 0.25, 0.25])) / math.log(4)
        tensor(1.)
    """
    return 0.0 - torch.xlogy(shares, shares).sum(-1)  # a plain minus would make -0


def evenness(shares: Float[Tensor, "*l e"]) -> Float[Tensor, "*l"]:
    """The entropy over its highest value, log e: from 0 to 1; of a single expert it is 1."""
    experts = shares.shape[-1]
    return entropy(shares) / math.log(experts) if experts > 1 else torch.ones_like(shares[..., 0])


def mutual_information(
    load: Float[Tensor, "g l e"], sizes: Float[Tensor, " g"]
) -> Float[Tensor, " l"]:
    """How much the expert of a sample tells of its group, I(g; e) in nats, layer by layer.

    With p(g, e) the share of all choices that samples of g made of e, each choice 1 / k,

        I = sum_ge p(g, e) log(p(g, e) / (p(g) p(e))):

    0 where every group uses the experts alike, the entropy of p(g) where no two share one. Of few
    samples it comes out too high, by about (g - 1)(e - 1) / 2s where the truth is 0.

    Args:
        load: The load of each group, of `group_load`.
        sizes: Samples of each group.
    """
    shares = (sizes / sizes.sum()).to(load)[:, None, None]  # [g, 1, 1]
    joint = load * shares  # [g, l, e]
    apart = shares * joint.sum(0)  # what it would be if neither told of the other
    ratio = joint / apart.clamp(min=torch.finfo(apart.dtype).tiny)
    found = torch.xlogy(joint, ratio).sum((0, 2))
    # Rounding leaves as much where the truth is 0, and less than any count of samples makes.
    return torch.where(found < 64 * torch.finfo(found.dtype).eps, 0.0, found)

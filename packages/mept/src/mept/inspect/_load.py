"""How the samples spread over the experts.

Shapes: `l` layers, `s` samples, `k` experts used, `e` experts, `g` groups.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def expert_load(chosen: Int[Tensor, "l s k"], experts: int) -> Float[Tensor, "l e"]:
    """The share of all choices in a layer that fell on each expert; a choice counts 1 / k.

    Args:
        chosen: The experts that each sample was given.
        experts: How many there are.

    Returns:
        The shares, which sum to one in each layer.

    Example:
        >>> expert_load(torch.tensor([[[0], [2], [2], [2]]]), 3)
        tensor([[0.2500, 0.0000, 0.7500]], dtype=torch.float64)
    """
    return _taken(chosen, experts).mean(1)


def group_load(
    chosen: Int[Tensor, "l s k"], groups: Int[Tensor, " s"], experts: int
) -> Float[Tensor, "g l e"]:
    """The `expert_load` of the samples of each group.

    Args:
        chosen: The experts that each sample was given.
        groups: The group of each sample, from 0 on without a gap.
        experts: How many experts there are.
    """
    taken, count = _taken(chosen, experts), int(groups.max()) + 1
    return torch.stack([taken[:, groups == group].mean(1) for group in range(count)])


def dead_experts(load: Float[Tensor, "l e"]) -> list[tuple[int, ...]]:
    """The experts of each layer that no sample was given."""
    return [tuple((layer == 0).nonzero()[:, 0].tolist()) for layer in load]


def load_variation(load: Float[Tensor, "l e"]) -> Float[Tensor, " l"]:
    """The coefficient of variation of the load: its standard deviation over its mean.

    Zero is an even load, and the square root of e - 1 is all of it on one expert.
    """
    return load.std(-1, correction=0) / load.mean(-1)


def _taken(chosen: Int[Tensor, "l s k"], experts: int) -> Float[Tensor, "l s e"]:
    """1 / k for each expert that a sample was given."""
    return F.one_hot(chosen, experts).double().mean(2)

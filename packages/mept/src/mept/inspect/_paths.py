"""Which experts a sample passes on its way through the layers.

Shapes: `l` layers, `s` samples, `k` experts used, `e` experts.
"""

from __future__ import annotations

from collections import Counter

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

Path = tuple[int, ...]


def expert_paths(chosen: Int[Tensor, "l s k"]) -> Int[Tensor, "s l"]:
    """The path of each sample: the best of the experts that it was given, in every layer."""
    return chosen[:, :, 0].T


def count_paths(paths: Int[Tensor, "s l"]) -> dict[Path, int]:
    """How many samples took each path, the most frequent first.

    Example:
        >>> count_paths(torch.tensor([[0, 1], [2, 2], [2, 2]]))
        {(2, 2): 2, (0, 1): 1}
    """
    counted = Counter(tuple(path) for path in paths.tolist())
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def count_transitions(paths: Int[Tensor, "s l"], experts: int) -> Int[Tensor, "l-1 e e"]:
    """How many samples went from each expert of a layer to each of the next.

    Args:
        paths: The path of each sample.
        experts: How many experts a layer has.

    Returns:
        Counts, from the expert in the row to that in the column.
    """
    taken = F.one_hot(paths, experts).double()  # [s, l, e]
    return torch.einsum("sli,slj->lij", taken[:, :-1], taken[:, 1:]).long()

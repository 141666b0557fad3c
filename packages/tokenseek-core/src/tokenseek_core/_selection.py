"""From scores to the kept tokens of each instance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """The kept tokens of a batch.

    Args:
        indices: Slots of the kept rows in ascending order, distinct within an instance, [b, k].
        active: False for surplus rows of instances that keep fewer than the longest, [b, k].
        ragged: Whether any row is surplus.
    """

    indices: Int[Tensor, "b k"]
    active: Bool[Tensor, "b k"]
    ragged: bool

    def rows(self, tensor: Tensor) -> Tensor:
        """Gather the kept rows: [b, s] to [b, k], or [b, s, ...] to [b, k, ...]."""
        index = self.indices.reshape(self.indices.shape + (1,) * (tensor.ndim - 2))
        return torch.take_along_dim(tensor, index, dim=1)


def select(
    scores: Float[Tensor, "b s"],
    valid: Bool[Tensor, "b s"],
    supervised: Bool[Tensor, "b s"],
    *,
    ratio: float,
    min_supervised: int,
) -> Selection:
    """Keep the ceil(ratio * length) highest scores of each instance.

    Args:
        scores: Importance of each token; only their order within an instance matters.
        valid: Tokens that are not padding; padding is kept only as surplus.
        supervised: Tokens that have a target.
        ratio: Share of the valid tokens to keep.
        min_supervised: Supervised tokens that each instance keeps at least, where it has them.

    Returns:
        The kept slots; at least one for every instance.
    """
    scores = scores.masked_fill(~valid, -math.inf)
    if min_supervised:
        # The best supervised tokens move to the front: no change where enough of them are kept.
        best = scores.masked_fill(~supervised, -math.inf).topk(min(min_supervised, scores.shape[1]))
        rows = torch.arange(len(scores), device=scores.device)[:, None].expand_as(best.indices)
        forced = supervised[rows, best.indices] & valid[rows, best.indices]
        scores = scores.index_put((rows[forced], best.indices[forced]), scores.new_tensor(math.inf))
    lengths = valid.sum(1).tolist()
    budgets = [max(1, math.ceil(ratio * length - 1e-9)) for length in lengths]
    k = max(budgets)
    kept = scores.topk(k).indices  # [b, k], highest first
    budget = torch.tensor(budgets, device=scores.device)
    active = torch.arange(k, device=scores.device) < budget[:, None]
    kept, order = kept.sort(dim=1)
    return Selection(kept, active.gather(1, order), ragged=min(budgets) < k)

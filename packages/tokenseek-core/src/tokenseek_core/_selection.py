"""From scores to the kept tokens of each instance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Whole = TypeVar("Whole", int, Tensor)


@dataclass(frozen=True)
class Selection:
    """The kept tokens of a batch.

    Args:
        indices: Slots of the kept rows in ascending order, distinct within an instance, [b, k].
        active: False for surplus rows of instances that keep fewer than the longest, [b, k].
        ragged: Whether any row is surplus.
        importance: What each kept row stands for: the inverse of its probability to be kept where
            rows were sampled, else 1, [b, k].
    """

    indices: Int[Tensor, "b k"]
    active: Bool[Tensor, "b k"]
    ragged: bool
    importance: Float[Tensor, "b k"]

    def rows(self, tensor: Tensor) -> Tensor:
        """Gather the kept rows: [b, s] to [b, k], or [b, s, ...] to [b, k, ...]."""
        index = self.indices.reshape(self.indices.shape + (1,) * (tensor.ndim - 2))
        return torch.take_along_dim(tensor, index, dim=1)


def share_of(length: Whole, ratio: float) -> Whole:
    """ceil(ratio * length), in integers, which a host and every device round alike.

    The ratio counts in parts of 1e-12, and one less, so that a tenth of ten is one.
    """
    parts = 10**12
    return -(-length * (round(ratio * parts) - 1) // parts)


def select(
    scores: Float[Tensor, "b s"],
    valid: Bool[Tensor, "b s"],
    supervised: Bool[Tensor, "b s"],
    lengths: Sequence[int],
    *,
    ratio: float,
    min_supervised: int,
    log_p: Float[Tensor, "b s"] | None = None,
) -> Selection:
    """Keep the ceil(ratio * length) highest scores of each instance.

    Args:
        scores: Importance of each token; only their order within an instance matters.
        valid: Tokens that are not padding; padding is kept only as surplus.
        supervised: Tokens that have a target.
        lengths: Valid tokens of each instance.
        ratio: Share of the valid tokens to keep.
        min_supervised: Supervised tokens that each instance keeps at least, where it has them.
        log_p: Where `scores` are a draw, see :func:`perturbed`: the logarithms it was made of.

    Returns:
        The kept slots; at least one for every instance that has a token.
    """
    scores = scores.masked_fill(~valid, -math.inf)
    if min_supervised:
        # The best supervised tokens move to the front: no change where enough of them are kept.
        best = scores.masked_fill(~supervised, -math.inf).topk(min(min_supervised, scores.shape[1]))
        forced = (supervised & valid).gather(1, best.indices)
        raised = scores.gather(1, best.indices).masked_fill(forced, math.inf)
        scores = scores.scatter(1, best.indices, raised)
    budgets = [min(length, max(1, share_of(length, ratio))) for length in lengths]
    k = max(1, *budgets)
    ordered = scores.topk(min(k + 1, scores.shape[1]))  # highest first
    kept = ordered.indices[:, :k]  # [b, k]
    length = valid.sum(1)  # the same numbers on the device, which needs no copy of the host's
    budget = torch.minimum(length, share_of(length, ratio).clamp(min=1))
    active = torch.arange(k, device=scores.device) < budget[:, None]
    importance = torch.ones_like(kept, dtype=scores.dtype)
    if log_p is not None:
        # The first score that is not kept; there is none, so -inf, where everything is.
        beyond = F.pad(ordered.values, (0, k + 1 - ordered.values.shape[1]), value=-math.inf)
        threshold = beyond.gather(1, budget[:, None])
        chance = -torch.expm1(-torch.exp(log_p.gather(1, kept) - threshold))
        importance = torch.where(active, 1 / chance, 1)
    kept, order = kept.sort(dim=1)
    return Selection(
        indices=kept,
        active=active.gather(1, order),
        ragged=min(budgets) < k,
        importance=importance.gather(1, order),
    )

"""What each row counts in the loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

IGNORE_INDEX = -100


def shift_labels(labels: Int[Tensor, "b s"]) -> Int[Tensor, "b s"]:
    """The target of each row: the next token's label, none for the last row."""
    return F.pad(labels, (0, 1), value=IGNORE_INDEX)[:, 1:]  # of no rows too


def restart_weights(
    targets: Int[Tensor, "b k"],
    importance: Float[Tensor, "b k"],
    supervised: Int[Tensor, " b"],
    num_items: Tensor | int | None,
) -> Float[Tensor, "b k"]:
    """Weight of each kept row, so that each instance counts by all its supervised tokens.

    L = sum_i w_i * mean_{j in S_i, supervised} CE_ij, w_i = n_i / N, the mean weighted by
    importance, with n_i the supervised tokens of instance i and N their number in the whole
    optimizer step. So keeping every token gives the dense loss, a batch equals its instances, and
    accumulation does not change the gradient. An instance of which no supervised token is kept
    adds 0.

    Args:
        targets: Target of each kept row; -100 has none, and surplus rows have none.
        importance: What each kept row stands for; its type is that of the weights.
        supervised: n_i, supervised tokens of each instance, kept or not.
        num_items: N where the trainer knows it; None takes the sum of n_i.
    """
    weights = (targets != IGNORE_INDEX) * importance
    counted = weights.sum(1)  # [b]
    share = supervised / torch.where(counted > 0, counted, 1)
    return weights * (share / total_items(supervised, num_items, importance.dtype))[:, None]


def total_items(
    supervised: Int[Tensor, " b"], num_items: Tensor | int | None, dtype: torch.dtype
) -> Float[Tensor, ""]:
    """N, the supervised tokens of the whole optimizer step, at least 1.

    As a float: of two integers, one divided by the other is a float32 in a float64 model too.
    """
    if num_items is None:
        total = supervised.sum()
    elif isinstance(num_items, Tensor) and num_items.device == supervised.device:
        total = num_items
    else:  # by a kernel: the device would have to wait for a copy
        total = torch.full((), int(num_items), device=supervised.device)
    return total.to(supervised).clamp(min=1).to(dtype)


def row_losses(logits: Float[Tensor, "b k v"], targets: Int[Tensor, "b k"]) -> Float[Tensor, "b k"]:
    """Cross-entropy of each row, in float32 or better; 0 where it has no target."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    losses = F.cross_entropy(
        logits.flatten(0, 1).to(dtype),
        targets.flatten(),
        ignore_index=IGNORE_INDEX,
        reduction="none",
    )
    return losses.view(targets.shape)

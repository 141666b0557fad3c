"""The loss restarted on the kept rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

IGNORE_INDEX = -100


def shift_labels(labels: Int[Tensor, "b s"]) -> Int[Tensor, "b s"]:
    """The target of each row: the next token's label, none for the last row."""
    return F.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)


def restart_loss(
    logits: Float[Tensor, "b k v"],
    targets: Int[Tensor, "b k"],
    active: Bool[Tensor, "b k"],
    supervised: Int[Tensor, " b"],
    num_items: Tensor | int | None,
) -> Float[Tensor, ""]:
    """Cross-entropy of the kept rows, each instance weighted by all its supervised tokens.

    L = sum_i w_i * mean_{j in S_i, supervised} CE_ij, w_i = n_i / N, with n_i the supervised tokens
    of instance i and N their number in the whole optimizer step. So keeping every token gives the
    dense loss, a batch equals its instances, and accumulation does not change the gradient. An
    instance of which no supervised token is kept adds 0.

    Args:
        logits: Logits of the kept rows.
        targets: Target of each kept row; -100 has none.
        active: False for surplus rows.
        supervised: n_i, supervised tokens of each instance, kept or not.
        num_items: N where the trainer knows it; None takes the sum of n_i.
    """
    targets = targets.masked_fill(~active, IGNORE_INDEX)
    counted = (targets != IGNORE_INDEX).sum(1)  # [b]
    total = supervised.sum() if num_items is None else torch.as_tensor(num_items)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    weights = supervised.to(dtype) / (counted.clamp(min=1) * total.to(counted).clamp(min=1))
    losses = F.cross_entropy(
        logits.flatten(0, 1).to(dtype),
        targets.flatten(),
        ignore_index=IGNORE_INDEX,
        reduction="none",
    ).view_as(targets)
    return (losses.sum(1) * weights).sum()

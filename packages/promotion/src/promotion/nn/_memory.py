"""Prototype memory: K directions that every picture, both frames and both tasks share.

It is a buffer, not a parameter: prototypes follow the tokens that are assigned to them,

    p_k <- normalize(mu p_k + (1 - mu) normalize(mean_{n: y_n = k} e_n)),

and only those that were used move. Shapes: `k` prototypes, `p` dimensions, `n` tokens.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

RARE = 0.1
"""A prototype with less than this share of an even usage counts as dead."""

USAGE_MOMENTUM = 0.99


class PrototypeMemory(nn.Module):
    """Prototypes on the unit sphere.

    Args:
        prototypes: K.
        dimensions: Of the sphere's space.
        momentum: mu.
        patience: Updates for which a prototype may stay rarely used before it is placed anew, at
            the token that its nearest prototype fits worst.
    """

    prototypes: Tensor
    usage: Tensor
    rare_for: Tensor

    def __init__(
        self, prototypes: int, dimensions: int, *, momentum: float, patience: int = 1000
    ) -> None:
        super().__init__()
        self.momentum, self.patience = momentum, patience
        self.frozen = False
        start = F.normalize(torch.randn(prototypes, dimensions), dim=-1)
        self.register_buffer("prototypes", start)
        self.register_buffer("usage", torch.full((prototypes,), 1 / prototypes))
        self.register_buffer("rare_for", torch.zeros(prototypes, dtype=torch.int64))

    def forward(self) -> Float[Tensor, "k p"]:
        """The prototypes, safe in a graph: an update is made in place."""
        return self.prototypes.clone()

    @torch.no_grad()
    def update(self, tokens: Float[Tensor, "n p"], assigned: Int[Tensor, "n"]) -> None:
        """Move used prototypes towards their tokens, of all processes; then re-seed a dead one.

        Args:
            tokens: On the unit sphere.
            assigned: The prototype of each.
        """
        if self.frozen:
            return
        count = len(self.prototypes)
        own = F.one_hot(assigned, count).to(tokens.dtype)  # [n, k]
        sums = torch.cat([own.T @ tokens, own.sum(0)[:, None]], 1).to(self.prototypes.dtype)
        _all_reduce(sums)
        means, used = F.normalize(sums[:, :-1], dim=-1), sums[:, -1]
        moved = self.momentum * self.prototypes + (1 - self.momentum) * means
        self.prototypes.copy_(
            torch.where(used[:, None] > 0, F.normalize(moved, dim=-1), self.prototypes)
        )
        self.usage.lerp_(used / used.sum(), 1 - USAGE_MOMENTUM)
        rare = self.usage < RARE / count
        self.rare_for.copy_(torch.where(rare, self.rare_for + 1, 0))
        self._reseed(tokens)

    def usage_entropy(self) -> float:
        """Entropy of the usage as a share of the largest possible, log K: 1 uses all alike."""
        shares = self.usage.double().clamp_min(1e-12)
        shares = shares / shares.sum()
        entropy = -(shares * shares.log()).sum() / torch.tensor(len(shares)).double().log()
        return float(entropy)

    def _reseed(self, tokens: Float[Tensor, "n p"]) -> None:
        """Place the prototype that was dead longest at the worst-served token of all processes."""
        longest, dead = self.rare_for.max(0)
        if longest < self.patience:
            return
        fit, worst = (tokens @ self.prototypes.T.to(tokens.dtype)).amax(1).min(0)
        candidates = _gather(torch.cat([fit[None], tokens[worst]]).to(self.prototypes.dtype))
        self.prototypes[dead] = candidates[candidates[:, 0].argmin(), 1:]
        self.usage[dead] = 1 / len(self.prototypes)
        self.rare_for[dead] = 0


def _all_reduce(values: Tensor) -> None:
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values)


def _gather(row: Float[Tensor, "p"]) -> Float[Tensor, "ranks p"]:
    """One row of each process."""
    if not (dist.is_available() and dist.is_initialized()):
        return row[None]
    rows = [torch.empty_like(row) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, row)
    return torch.stack(rows)

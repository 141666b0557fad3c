r"""Prototypical learner: tokens are clustered around shared prototypes, and learn from them.

    assign   Q* by Sinkhorn in training, y_n = argmax_k Q*_nk;  argmax_k cos(e_n, p_k) at test
    start    theta = W_up P
    E-step   A = softmax_k(K (W_q theta)^T / sqrt(d)),    K = W_k Z, V = W_v Z once
    M-step   theta <- theta + norm_n(A)^T V
    sync     Z <- Z + g A theta;  Z <- Z + g FFN(LN Z),   g learned, initially 0

In training Sinkhorn balances within each picture, so that a batch equals its pictures. Shapes: `b`
batch, `d` channels, `n` = h w tokens, `k` prototypes, `p` dimensions of the sphere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from promotion.nn._kmeans import kmeans
from promotion.nn._margin import LargeMarginProjection, margin_loss
from promotion.nn._memory import PrototypeMemory
from promotion.nn._sinkhorn import sinkhorn

Assignment = Literal["sinkhorn", "kmeans", "nearest"]
"""How tokens choose prototypes in training: balanced, by k-means in the picture, or the nearest."""


@dataclass(frozen=True)
class Prototyped:
    """What the learner makes of features.

    Args:
        features: Z after synchronisation.
        assignments: The prototype of each cell.
        margin_loss: Of each picture, in training.
    """

    features: Float[Tensor, "b d h w"]
    assignments: Int[Tensor, "b h w"]
    margin_loss: Float[Tensor, "b"] | None


class PrototypeLearner(nn.Module):
    """Cluster tokens, refine the prototypes to each picture, and hand them back.

    Args:
        channels: d.
        prototypes: K.
        dimensions: p.
        em_steps: Times that E- and M-step alternate.
        momentum: Of the memory.
        assignment: How tokens choose prototypes in training.
        memory: Whether the prototypes follow the tokens; without it they stay where they began, and
            what a picture's own EM steps make of them is all that is learned.
    """

    def __init__(
        self,
        channels: int,
        *,
        prototypes: int,
        dimensions: int,
        em_steps: int = 3,
        momentum: float = 0.99,
        assignment: Assignment = "sinkhorn",
        memory: bool = True,
    ) -> None:
        super().__init__()
        self.em_steps, self.assignment = em_steps, assignment
        self.project = LargeMarginProjection(channels, dimensions)
        self.memory = PrototypeMemory(prototypes, dimensions, momentum=momentum)
        self.memory.frozen = not memory
        self.up = nn.Linear(dimensions, channels, bias=False)
        self.query, self.key, self.value = (
            nn.Linear(channels, channels, bias=False) for _ in range(3)
        )
        self.norm = nn.LayerNorm(channels)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )
        self.gates = nn.Parameter(torch.zeros(2))

    def forward(self, z: Float[Tensor, "b d h w"]) -> Prototyped:
        """Cluster and synchronise; in training, also move the memory."""
        height, width = z.shape[-2:]
        tokens = z.flatten(2).transpose(1, 2)  # [b, n, d]
        embedded = self.project(tokens)  # [b, n, p]
        prototypes = self.memory()
        cosines = embedded @ prototypes.T  # [b, n, k]
        assigned = self.assign(embedded.detach(), prototypes)
        loss = None
        if self.training:
            loss = margin_loss(cosines, assigned)
            self.memory.update(embedded.detach().flatten(0, 1), assigned.flatten())
        tokens = self.synchronise(tokens, prototypes)
        features = tokens.transpose(1, 2).unflatten(2, (height, width))
        return Prototyped(features, assigned.unflatten(1, (height, width)), loss)

    def assign(
        self, embedded: Float[Tensor, "b n p"], prototypes: Float[Tensor, "k p"]
    ) -> Int[Tensor, "b n"]:
        """The prototype of each token."""
        if self.training and self.assignment == "kmeans":
            return kmeans(embedded, prototypes)
        cosines = embedded @ prototypes.T
        balanced = self.training and self.assignment == "sinkhorn"
        return (sinkhorn(cosines) if balanced else cosines).argmax(-1)

    def synchronise(
        self, tokens: Float[Tensor, "b n d"], prototypes: Float[Tensor, "k p"]
    ) -> Float[Tensor, "b n d"]:
        """Refine the prototypes to each picture by EM, and hand them back to its tokens."""
        theta = self.up(prototypes).expand(tokens.shape[0], -1, -1)  # [b, k, d]
        key, value = self.key(tokens), self.value(tokens)
        shares = self.expect(key, theta)
        for _ in range(self.em_steps):
            weights = shares / shares.sum(1, keepdim=True)
            theta = theta + weights.transpose(1, 2) @ value
            shares = self.expect(key, theta)
        tokens = tokens + self.gates[0] * (shares @ theta)
        synchronised: Tensor = tokens + self.gates[1] * self.feed_forward(self.norm(tokens))
        return synchronised

    def expect(
        self, key: Float[Tensor, "b n d"], theta: Float[Tensor, "b k d"]
    ) -> Float[Tensor, "b n k"]:
        """E-step: how much of each token belongs to each prototype."""
        logits = key @ self.query(theta).transpose(1, 2) / math.sqrt(key.shape[-1])
        shares: Tensor = logits.softmax(-1)
        return shares

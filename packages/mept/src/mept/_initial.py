"""Values that routers and experts start from.

They are drawn by plain functions of torch: while transformers loads a model, it switches those of
`torch.nn.init` off, and what they should have filled keeps whatever the memory held.

Shapes: `d` hidden size, `e` experts, `p` prompt rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Initial(NamedTuple):
    """The trainable tensors of one layer."""

    router: Float[Tensor, "e d"]
    experts: Float[Tensor, "e p d"]
    shared: Float[Tensor, "p d"] | None


def initial(
    *,
    init: str,
    std: float,
    num_experts: int,
    rows: int,
    hidden_size: int,
    shared_expert: bool,
    embedding: nn.Module | None,
) -> Initial:
    """Draw them: an orthogonal router, experts as asked for, and a small shared expert.

    The shared expert is never zero, where the norm of a pre-norm block multiplies gradients by a
    thousand.

    Args:
        init: "normal", "xavier", or "vocab", which takes embeddings of random tokens.
        std: Standard deviation of "normal", and of the shared expert.
        num_experts: Experts of the layer.
        rows: Prompt rows of each.
        hidden_size: Their width.
        shared_expert: Whether there is one.
        embedding: The model's own, where "vocab" is to use it: at the first layer.
    """
    size = (num_experts, rows, hidden_size)
    if init == "xavier":
        bound = math.sqrt(6 / (rows + hidden_size))
        experts = (2 * torch.rand(size) - 1) * bound
    elif init == "vocab" and embedding is not None:
        experts = _embeddings(embedding, num_experts * rows).view(size)
    else:
        experts = std * torch.randn(size)
    shared = std * torch.randn(rows, hidden_size) if shared_expert else None
    return Initial(_orthogonal(num_experts, hidden_size), experts, shared)


def _orthogonal(rows: int, columns: int) -> Float[Tensor, "rows columns"]:
    """A random matrix whose rows, or columns if they are fewer, are orthonormal."""
    tall = torch.linalg.qr(torch.randn(max(rows, columns), min(rows, columns))).Q
    matrix: Tensor = tall.T if rows < columns else tall
    return matrix


def _embeddings(embedding: nn.Module, count: int) -> Float[Tensor, "count d"]:
    """Embeddings of random tokens, scaled as the model scales them."""
    weight = embedding.get_parameter("weight")
    tokens = torch.randint(weight.shape[0], (count,), device=weight.device)
    with torch.no_grad():
        found: Tensor = embedding(tokens)
    return found.float().cpu()

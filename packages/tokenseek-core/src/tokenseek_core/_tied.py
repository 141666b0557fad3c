"""One gradient buffer for a weight that is both input embedding and head.

Autograd waits with a tied weight until both of its gradients exist: the head's, of the size of the
whole table, lies through all of the backward pass, and the embedding's, as large again, is added to
it at the end. With few rows the two tables outweigh every activation. Here the head's part is
computed where the embedding's is, at the end, from the few rows that make it up, and the
embedding's few rows are added into it.

Shapes: `b` batch, `k` kept rows, `d` hidden size, `v` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tokenseek_core._anatomy import Anatomy, apply, replaced
from tokenseek_core._batch import Batch


@dataclass
class HeadGradient:
    """The head's part of the gradient between its backward and the embedding's.

    A second backward through the same head overwrites it, so it is never added twice.
    """

    pending: Callable[[Tensor], Tensor] | None = None

    def store(self, adjoint: Float[Tensor, "m v"], hidden: Float[Tensor, "m d"]) -> None:
        """Keep the factors, or their product where that is the smaller."""
        left, right = adjoint.T, hidden.to(adjoint.dtype)
        if len(adjoint) < hidden.shape[1]:
            self.pending = lambda weight: left @ right
        else:
            table = left @ right
            self.pending = lambda weight: table

    def take(self, weight: Tensor) -> Float[Tensor, "v d"]:
        """The gradient table, which belongs to the caller."""
        pending, self.pending = self.pending, None
        return torch.zeros_like(weight) if pending is None else pending(weight).to(weight.dtype)


class Embed(torch.autograd.Function):
    """F.embedding, whose backward completes the gradient of the tied weight."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Float[Tensor, "v d"],
        tokens: Int[Tensor, "b k"],
        padding_idx: int | None,
        head: HeadGradient,
    ) -> Float[Tensor, "b k d"]:
        """Look the tokens up."""
        ctx.save_for_backward(weight, tokens)
        ctx.padding_idx = padding_idx
        ctx.head = head
        return F.embedding(tokens, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, adjoint: Float[Tensor, "b k d"]) -> tuple[Tensor, None, None, None]:
        """Add the rows of the tokens to the head's part."""
        weight, tokens = ctx.saved_tensors
        table = ctx.head.take(weight)
        tokens, order = tokens.flatten().sort()
        first = F.pad(tokens.diff() != 0, (1, 0), value=True)  # of those that are alike
        # Repeated tokens add up in float32 or better, as in the embedding's own backward. The
        # number of different ones is the device's secret: each sum goes to the first of them, and
        # the others add zeros.
        dtype = torch.promote_types(adjoint.dtype, torch.float32)
        rows = adjoint.flatten(0, 1)[order].to(dtype)
        summed = torch.zeros_like(rows).index_add_(0, first.cumsum(0) - 1, rows)
        counted = first if ctx.padding_idx is None else first & (tokens != ctx.padding_idx)
        summed = torch.where(counted[:, None], summed[first.cumsum(0) - 1], 0)
        return table.index_add_(0, tokens, summed.to(table.dtype)), None, None, None


class Project(torch.autograd.Function):
    """F.linear, whose backward leaves the weight's gradient to the embedding."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Float[Tensor, "b k d"], weight: Float[Tensor, "v d"], head: HeadGradient
    ) -> Float[Tensor, "b k v"]:
        """Compute the logits."""
        ctx.save_for_backward(hidden, weight)
        ctx.head = head
        return F.linear(hidden, weight)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, adjoint: Float[Tensor, "b k v"]
    ) -> tuple[Float[Tensor, "b k d"], None, None]:
        """Pass on the hidden states' gradient, keep what makes up the weight's."""
        hidden, weight = ctx.saved_tensors
        ctx.head.store(adjoint.flatten(0, 1), hidden.flatten(0, 1))
        return (adjoint @ weight.to(adjoint.dtype)).to(hidden.dtype), None, None


@contextmanager
def tied_gradient(anatomy: Anatomy, batch: Batch) -> Iterator[HeadGradient | None]:
    """Let the forward inside the block share one gradient buffer for a tied weight.

    Models without a trainable tied weight, and those whose embedding or head is more than a table
    (adapters, scaling, hooks that replace forward), run as they are, and so do embeddings that
    come from outside.

    Yields:
        Where the head's part is to be left, or None.
    """
    embedding = anatomy.embedding
    projection = anatomy.model.get_output_embeddings()
    plain = (
        anatomy.encoder is None  # whose embedding may be another module with the same weight
        and "input_ids" in batch.rowwise
        and type(embedding) is nn.Embedding
        and type(projection) is nn.Linear
        and embedding.weight is projection.weight
        and embedding.weight.requires_grad
        and getattr(projection, "bias", None) is None
        and not (embedding.max_norm or embedding.scale_grad_by_freq or embedding.sparse)
        and "forward" not in vars(embedding)
        and "forward" not in vars(projection)
    )
    if not (plain and isinstance(embedding, nn.Embedding) and torch.is_grad_enabled()):
        yield None
        return
    head = HeadGradient()

    def embed(input: Tensor) -> Tensor:
        return apply(Embed, embedding.weight, input, embedding.padding_idx, head)

    def project(input: Tensor) -> Tensor:
        return apply(Project, input, projection.weight, head)

    with replaced(embedding, "forward", embed), replaced(projection, "forward", project):
        yield head

"""The model's head and the loss of each row, a chunk of rows at a time: no [s, v] logits exist.

Shapes: `b` batch, `s` rows of an instance, `d` hidden size, `n` rows that have a target, `m` rows
of one chunk, `v` vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake
from torch.autograd.function import once_differentiable

from tokenseek_core._anatomy import Anatomy, apply
from tokenseek_core._chunks import chunk_bytes, walked
from tokenseek_core._cross_entropy import cross_entropy
from tokenseek_core._loss import IGNORE_INDEX
from tokenseek_core._projection import (
    plain_projection,
    project_rows,
    same_memory,
    table_gradient,
)
from tokenseek_core._tied import HeadGradient


class RowLosses(NamedTuple):
    """What the head makes of final hidden states; rows without a target have zeros."""

    losses: Float[Tensor, "b s"]
    """Cross-entropy of each row."""

    log_total: Float[Tensor, "b s"]
    """Logarithm of the denominator of each row's softmax."""

    adjoint: Float[Tensor, "b s d"]
    """Gradient of the summed losses by the final hidden states."""


@dataclass(frozen=True)
class Head:
    """The way from final hidden states to the loss of each row.

    Args:
        anatomy: The model's parts.
        targets: Target of each row; -100 has none, [b, s].
        count: n, how many rows have one, at most: what is on a device tells it late.
    """

    anatomy: Anatomy
    targets: Int[Tensor, "b s"]
    count: int

    @property
    def dtype(self) -> torch.dtype:
        """What losses and their weights are computed in: float32 or better."""
        return torch.promote_types(self.anatomy.model.dtype, torch.float32)

    @cached_property
    def rows(self) -> Int[Tensor, " n"]:
        """Rows that have a target, as slots of the flattened batch in their order."""
        without = (self.targets == IGNORE_INDEX).flatten().int()
        return without.argsort(stable=True)[: self.count]

    def losses(self, final: Float[Tensor, "b s d"]) -> Float[Tensor, "b s"]:
        """Cross-entropy of each row, 0 where it has no target; without a graph."""
        losses = self._zeros()
        for rows, hidden, target in self._chunks(final):
            with torch.no_grad():
                logits = self.anatomy.head(hidden[None])[0]  # [m, v]
            losses.view(-1)[rows] = cross_entropy(logits, target)[0].to(losses.dtype)
        return losses

    def row_losses(self, final: Float[Tensor, "b s d"]) -> RowLosses:
        """Losses and their gradient by the rows, from one set of logits; no parameter gets one."""
        final = final.detach()
        found = RowLosses(self._zeros(), self._zeros(), torch.zeros_like(final))
        losses, log_total, adjoint = (whole.flatten(0, 1) for whole in found)
        plain = plain_projection(self.anatomy, final)
        for rows, hidden, target in self._chunks(final):
            if plain is None:
                ours = self._through_model(hidden, target)
            else:
                with torch.no_grad():
                    ours = project_rows(plain.weight, hidden, target)
            for whole, part in zip((losses, log_total, adjoint), ours, strict=True):
                whole[rows] = part.to(whole.dtype)
        return found

    def parameter_gradients(
        self,
        final: Float[Tensor, "b s d"],
        weights: Float[Tensor, "b s"],
        log_total: Float[Tensor, "b s"],
        parameters: Sequence[Tensor],
    ) -> list[Tensor]:
        """Gradients of `parameters` for sum_j weights_j * CE_j; the logits are made again."""
        final = final.detach()
        plain = plain_projection(self.anatomy, final)
        if plain is None:
            return self._gradients_through_model(final, weights, parameters)
        rows, table = self.rows, plain.weight.detach()

        def gradient(parameter: Tensor) -> Tensor:
            if not same_memory(parameter, table) or not len(rows):  # no logit is made with it
                return torch.zeros_like(parameter)
            hidden, target, lse, weight = (
                whole.flatten(0, 1)[rows] for whole in (final, self.targets, log_total, weights)
            )
            return table_gradient(table, hidden, target, lse, weight)

        return [gradient(parameter) for parameter in parameters]

    def _through_model(
        self, hidden: Float[Tensor, "m d"], target: Int[Tensor, " m"]
    ) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"], Float[Tensor, "m d"]]:
        """Losses, log-sums and adjoints of a chunk of rows, whatever the model's head does."""
        with torch.enable_grad():
            hidden = hidden.requires_grad_()
            logits = self.anatomy.head(hidden[None])[0]  # [m, v]
        by_logits = torch.empty_like(logits)  # a head may keep its logits for its own backward
        losses, log_total = cross_entropy(logits, target, gradient=by_logits)
        return losses, log_total, self.anatomy.pull_back(logits, hidden, by_logits)

    def _gradients_through_model(
        self,
        final: Float[Tensor, "b s d"],
        weights: Float[Tensor, "b s"],
        parameters: Sequence[Tensor],
    ) -> list[Tensor]:
        """Gradients of `parameters`, added up over chunks in float32 or better."""
        sums = [
            torch.zeros_like(p, dtype=torch.promote_types(p.dtype, self.dtype)) for p in parameters
        ]
        for rows, hidden, target in self._chunks(final):
            with torch.enable_grad():
                logits = self.anatomy.head(hidden[None])[0]  # [m, v]
            by_logits = torch.empty_like(logits)
            cross_entropy(logits, target, gradient=by_logits, weights=weights.flatten()[rows])
            found = torch.autograd.grad(logits, list(parameters), by_logits, allow_unused=True)
            for total, part in zip(sums, found, strict=True):
                if part is not None:
                    total += part
        return [total.to(p.dtype) for total, p in zip(sums, parameters, strict=True)]

    def _chunks(
        self, final: Float[Tensor, "b s d"]
    ) -> Iterator[tuple[Int[Tensor, " m"], Float[Tensor, "m d"], Int[Tensor, " m"]]]:
        """Rows that have a target: their slots, hidden states and targets."""
        if not self.count:
            return
        vocabulary = self.anatomy.model.config.get_text_config().vocab_size
        row_bytes = vocabulary * final.dtype.itemsize
        chunk = max(1, chunk_bytes(final) // row_bytes)
        for rows in self.rows[: walked(self.count, chunk, final)].split(chunk):
            yield rows, final.flatten(0, 1)[rows], self.targets.flatten()[rows]

    def _zeros(self) -> Float[Tensor, "b s"]:
        return torch.zeros(self.targets.shape, dtype=self.dtype, device=self.targets.device)


def count_rows(targets: Int[Tensor, "b s"], at_most: int) -> int:
    """How many rows have a target; on a device that would have to be waited for, the bound."""
    if targets.device.type != "cpu" or is_fake(targets):
        return min(targets.numel(), at_most)
    return int((targets != IGNORE_INDEX).sum())


def head_losses(
    head: Head,
    final: Float[Tensor, "b s d"],
    weights: Float[Tensor, "b s"],
    found: RowLosses | None,
    tied: HeadGradient | None,
) -> Float[Tensor, "b s"]:
    """weights_j * CE_j of each row, without the logits of more than a chunk of rows.

    What the head's parameters get is computed in the backward pass, from logits that are made
    again: a gradient of the size of the vocabulary must not lie between forward and backward.

    Args:
        head: The way to each row's loss.
        final: Final hidden states with their graph.
        weights: Weight of each row, 0 for one without a target.
        found: What :meth:`Head.row_losses` said of `final` where it was asked already.
        tied: Where the gradient of a tied weight goes, which then waits for the embedding's.
    """
    found = head.row_losses(final) if found is None else found
    parameters = head.anatomy.head_parameters if tied is None else []
    return apply(HeadLosses, final, weights, *found, head, tied, *parameters)


class HeadLosses(torch.autograd.Function):
    """Weighted row losses whose gradients are known, or made again."""

    @staticmethod
    def forward(
        ctx: Any,
        final: Float[Tensor, "b s d"],
        weights: Float[Tensor, "b s"],
        losses: Float[Tensor, "b s"],
        log_total: Float[Tensor, "b s"],
        adjoint: Float[Tensor, "b s d"],
        head: Head,
        tied: HeadGradient | None,
        *parameters: Tensor,
    ) -> Float[Tensor, "b s"]:
        """Weigh the row losses."""
        ctx.save_for_backward(final, weights, log_total, adjoint, *parameters)
        ctx.head, ctx.tied = head, tied
        device = final.device.type
        ctx.autocast = functools.partial(
            torch.autocast,
            device,
            dtype=torch.get_autocast_dtype(device),
            enabled=torch.is_autocast_enabled(device),
        )
        return losses * weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Float[Tensor, "b s"]) -> tuple[Tensor | None, ...]:
        """Scale the adjoint, and make the parameters' gradients."""
        final, weights, log_total, adjoint, *parameters = ctx.saved_tensors
        weights = weights * upstream

        def gradients(wanted: Sequence[Tensor]) -> list[Tensor]:
            with ctx.autocast():
                return ctx.head.parameter_gradients(final, weights, log_total, wanted)  # type: ignore[no-any-return]

        if ctx.tied is not None:
            ctx.tied.pending = lambda weight: gradients([weight])[0]
        return (
            (adjoint * weights[..., None]).to(final.dtype),
            *(None,) * 6,
            *(gradients(parameters) if parameters else ()),
        )

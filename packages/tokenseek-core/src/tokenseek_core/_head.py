"""The model's head and the loss of each row, a few rows at a time: no [s, v] logits exist.

Shapes: `b` batch, `s` rows of an instance, `d` hidden size, `m` rows of one chunk, `v` vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake
from torch.autograd.function import once_differentiable

from tokenseek_core._anatomy import Anatomy, apply, replaced
from tokenseek_core._loss import IGNORE_INDEX
from tokenseek_core._tied import HeadGradient

CHUNK_BYTES = 16 * 2**20
"""Size of the logits that exist at a time, in the type that losses are computed in."""


@dataclass(frozen=True)
class Head:
    """The way from final hidden states to the loss of each row.

    Args:
        anatomy: The model's parts.
        targets: Target of each row; -100 has none, [b, s].
    """

    anatomy: Anatomy
    targets: Int[Tensor, "b s"]

    @property
    def dtype(self) -> torch.dtype:
        """What losses and their weights are computed in: float32 or better."""
        return torch.promote_types(self.anatomy.model.dtype, torch.float32)

    def losses(self, final: Float[Tensor, "b s d"]) -> Float[Tensor, "b s"]:
        """Cross-entropy of each row, 0 where it has no target; without a graph."""
        losses = _zeros(final)
        for rows, target in self._chunks():
            with torch.no_grad():
                logits = self.anatomy.head(final[rows][None])[0]  # [m, v]
            losses[rows], _ = cross_entropy(logits, target)
        return losses

    def adjoint(
        self, final: Float[Tensor, "b s d"]
    ) -> tuple[Float[Tensor, "b s"], Float[Tensor, "b s d"]]:
        """Cross-entropy of each row, and its gradient by that row; no parameter gets one."""
        final = final.detach()
        losses, adjoint = _zeros(final), torch.zeros_like(final)
        for rows, target in self._chunks():
            with torch.enable_grad():
                hidden = final[rows].requires_grad_()  # [m, d]
                logits = self.anatomy.head(hidden[None])[0]  # [m, v]
            losses[rows], by_logits = cross_entropy(logits, target)
            adjoint[rows] = self.anatomy.pull_back(logits, hidden, by_logits)
        return losses, adjoint

    def parameter_gradients(
        self,
        final: Float[Tensor, "b s d"],
        weights: Float[Tensor, "b s"],
        parameters: Sequence[Tensor],
    ) -> list[Tensor]:
        """Gradients of `parameters` for sum_j weights_j * CE_j; the logits are computed again."""
        final = final.detach()
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        ends = list(parameters)
        with ExitStack() as stack:
            projection = self.anatomy.model.get_output_embeddings()
            for i, (parameter, total) in enumerate(zip(parameters, sums, strict=True)):
                if parameter is getattr(projection, "weight", None) and is_plain(projection):
                    # An alias: hooks on the weight are to see the whole gradient, and once.
                    ends[i] = parameter.detach().requires_grad_()
                    project = functools.partial(_project_into, ends[i], total)
                    stack.enter_context(replaced(projection, "forward", project))
            for rows, target in self._chunks():
                with torch.enable_grad():
                    logits = self.anatomy.head(final[rows][None])[0]  # [m, v]
                _, by_logits = cross_entropy(logits, target)
                by_logits.mul_(weights[rows][:, None])
                found = torch.autograd.grad(logits, ends, by_logits, allow_unused=True)
                for total, part in zip(sums, found, strict=True):
                    if part is not None:
                        total += part
        return sums

    def _chunks(self) -> Iterator[tuple[tuple[Tensor, Tensor], Int[Tensor, "m 1"]]]:
        """Supervised rows with their targets.

        A fake batch has no values, so all its rows would be; its first chunks stand for the rest,
        which need nothing that those do not.
        """
        supervised = self.targets != IGNORE_INDEX
        chunk = max(1, CHUNK_BYTES // (self.anatomy.model.config.vocab_size * self.dtype.itemsize))
        if is_fake(supervised):
            rows_told = min(supervised.numel(), 3 * chunk)
            flat = torch.arange(rows_told, device=supervised.device)
            b, s = flat // supervised.shape[1], flat % supervised.shape[1]
        else:
            b, s = torch.nonzero(supervised, as_tuple=True)
        for rows in zip(b.split(chunk), s.split(chunk), strict=True):
            yield rows, self.targets[rows][:, None]


def head_loss(
    head: Head,
    final: Float[Tensor, "b s d"],
    weights: Float[Tensor, "b s"],
    found: tuple[Float[Tensor, "b s"], Float[Tensor, "b s d"]] | None,
    tied: HeadGradient | None,
) -> Float[Tensor, ""]:
    """sum_j weights_j * CE_j, without the logits of more than a chunk of rows.

    What the head's parameters get is computed in the backward pass, from logits that are made
    again: a gradient of the size of the vocabulary must not lie between forward and backward.

    Args:
        head: The way to each row's loss.
        final: Final hidden states with their graph.
        weights: Weight of each row.
        found: Losses and adjoint of `final` where :meth:`Head.adjoint` was asked for them already.
        tied: Where the gradient of a tied weight goes, which then waits for the embedding's.
    """
    losses, adjoint = head.adjoint(final) if found is None else found
    parameters = head.anatomy.head_parameters if tied is None else []
    return apply(HeadLoss, final, weights, losses, adjoint, head, tied, *parameters)


class HeadLoss(torch.autograd.Function):
    """A weighted sum of row losses whose gradients are known, or made again."""

    @staticmethod
    def forward(
        ctx: Any,
        final: Float[Tensor, "b s d"],
        weights: Float[Tensor, "b s"],
        losses: Float[Tensor, "b s"],
        adjoint: Float[Tensor, "b s d"],
        head: Head,
        tied: HeadGradient | None,
        *parameters: Tensor,
    ) -> Float[Tensor, ""]:
        """Add the row losses up."""
        ctx.save_for_backward(final, weights, adjoint, *parameters)
        ctx.head, ctx.tied = head, tied
        device = final.device.type
        ctx.autocast = functools.partial(
            torch.autocast,
            device,
            dtype=torch.get_autocast_dtype(device),
            enabled=torch.is_autocast_enabled(device),
        )
        return (losses * weights).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Float[Tensor, ""]) -> tuple[Tensor | None, ...]:
        """Scale the adjoint, and make the parameters' gradients."""
        final, weights, adjoint, *parameters = ctx.saved_tensors
        weights = weights * upstream

        def gradients(wanted: Sequence[Tensor]) -> list[Tensor]:
            with ctx.autocast():
                return ctx.head.parameter_gradients(final, weights, wanted)  # type: ignore[no-any-return]

        if ctx.tied is not None:
            ctx.tied.pending = lambda weight: gradients([weight])[0]
        return (
            (adjoint * weights[..., None]).to(final.dtype),
            *(None,) * 5,
            *(gradients(parameters) if parameters else ()),
        )


def cross_entropy(
    logits: Float[Tensor, "m v"], target: Int[Tensor, "m 1"]
) -> tuple[Float[Tensor, " m"], Float[Tensor, "m v"]]:
    """Cross-entropy of each row in float32 or better, and its gradient by the logits.

    With p = softmax(logits): the loss is -log p[target], its gradient p - onehot(target). One
    buffer takes it all, since it is the largest of a scoring pass.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    p = logits.detach().to(dtype, copy=True)
    p -= p.amax(-1, keepdim=True)
    picked = p.gather(1, target)
    total = p.exp_().sum(-1, keepdim=True)
    losses = total.log() - picked  # [m, 1]
    p /= total
    p.scatter_add_(1, target, -torch.ones_like(picked))
    return losses[:, 0], p.to(logits.dtype)


def is_plain(projection: nn.Module | None) -> bool:
    """Whether a head is a matrix and nothing more: no bias, adapter, or forward of its own."""
    plain = type(projection) is nn.Linear and projection.bias is None
    return plain and "forward" not in vars(projection)


class ProjectInto(torch.autograd.Function):
    """F.linear, whose backward adds the weight's gradient to a table that is there already."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Float[Tensor, "b m d"], weight: Float[Tensor, "v d"], total: Tensor
    ) -> Float[Tensor, "b m v"]:
        """Compute the logits."""
        ctx.save_for_backward(hidden)
        ctx.total = total
        return F.linear(hidden, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, adjoint: Float[Tensor, "b m v"]) -> tuple[None, None, None]:
        """Add in place: a second table for each chunk would double the largest of gradients."""
        (hidden,) = ctx.saved_tensors
        left, right = adjoint.flatten(0, 1).T, hidden.flatten(0, 1).to(adjoint.dtype)
        if adjoint.dtype == ctx.total.dtype:
            ctx.total.addmm_(left, right)
        else:
            ctx.total += left @ right
        return None, None, None


def _project_into(weight: Tensor, total: Tensor, input: Tensor) -> Tensor:
    return apply(ProjectInto, input, weight, total)


def _zeros(final: Float[Tensor, "b s d"]) -> Float[Tensor, "b s"]:
    dtype = torch.promote_types(final.dtype, torch.float32)
    return torch.zeros(final.shape[:2], dtype=dtype, device=final.device)

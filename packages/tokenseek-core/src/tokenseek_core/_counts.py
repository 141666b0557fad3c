"""What the host must know of a batch's values.

Shapes: `b` batch, `s` sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

_supposed: ContextVar[float] = ContextVar("supposed", default=1.0)


@contextmanager
def supposed_supervised(share: float) -> Iterator[None]:
    """Let this share of the rows of fake batches, whose labels have no values, have a target."""
    token = _supposed.set(share)
    try:
        yield
    finally:
        _supposed.reset(token)


@dataclass(frozen=True)
class Counts:
    """What the host must know of a batch's values, read from its device in one go.

    Args:
        lengths: Tokens of each instance that are not padding.
        supervised: Rows of each instance that have a target.
        answers: Those of them that are not padding.
        restarts: Tokens, of the batch, whose position does not follow that of the token before.
    """

    lengths: tuple[int, ...]
    supervised: tuple[int, ...]
    answers: tuple[int, ...]
    restarts: int

    @classmethod
    def read(
        cls,
        valid: Bool[Tensor, "b s"],
        supervised: Bool[Tensor, "b s"],
        positions: Int[Tensor, "b s"] | None,
    ) -> Counts:
        """Count; the only time that a step waits for its device."""
        b, s = valid.shape
        if is_fake(valid):  # without values: no padding, one sequence
            supposed = (round(_supposed.get() * s),) * b
            return cls((s,) * b, supposed, supposed, 0)
        restarts = torch.zeros_like(valid[:, 1:])
        if positions is not None:
            restarts = (positions.diff(dim=1) != 1) & valid[:, 1:] & valid[:, :-1]
        marks = (valid, supervised, valid & supervised, restarts)
        counted = torch.stack([mark.sum(1) for mark in marks])  # [4, b]
        lengths, with_target, answers, begun = counted.tolist()
        return cls(tuple(lengths), tuple(with_target), tuple(answers), sum(begun))

    @property
    def total(self) -> int:
        """Rows of the batch that have a target."""
        return sum(self.supervised)

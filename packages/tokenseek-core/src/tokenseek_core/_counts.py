"""What the host must know of a batch's values.

Shapes: `b` batch, `s` sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from jaxtyping import Bool
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
    """

    lengths: tuple[int, ...]
    supervised: tuple[int, ...]
    answers: tuple[int, ...]

    @classmethod
    def read(cls, valid: Bool[Tensor, "b s"], supervised: Bool[Tensor, "b s"]) -> Counts:
        """Count; the host waits for the device."""
        b, s = valid.shape
        if is_fake(valid):  # without values: no padding
            supposed = (round(_supposed.get() * s),) * b
            return cls((s,) * b, supposed, supposed)
        counted = torch.stack([x.sum(1) for x in (valid, supervised, valid & supervised)])
        return cls(*map(tuple, counted.tolist()))

    @property
    def total(self) -> int:
        """Rows of the batch that have a target."""
        return sum(self.supervised)

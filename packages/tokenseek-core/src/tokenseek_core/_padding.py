"""Masks that transformers makes without asking the device whether there is padding.

Its mask functions read the padding mask, and wait for the device, to leave a mask out where there
is no padding; without a padding mask they read the positions, in search of packed sequences. A step
knows both from its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor

from tokenseek_core._batch import Batch

MaskFunction = Callable[..., Any]

_padded: ContextVar[bool | None] = ContextVar("padded", default=None)


@contextmanager
def known_padding(batch: Batch) -> Iterator[Tensor | None]:
    """Let mask functions know the padding of `batch` while a model runs.

    Yields:
        The attention mask to give the model: one without padding in place of none, so that it
        looks for no packed sequences where there are none.
    """
    mask, counts = batch.attention_mask, batch.counts
    if mask is None and not counts.restarts:
        mask = batch.valid.long()
    known = mask is not None and mask.ndim == 2
    token = _padded.set(min(counts.lengths) < batch.labels.shape[1] if known else None)
    try:
        yield mask
    finally:
        _padded.reset(token)


def unread(function: MaskFunction) -> MaskFunction:
    """A mask `function` of transformers that reads nothing where the padding is known."""

    def make(*args: Any, **kwargs: Any) -> Any:
        padded = _padded.get()
        if padded is not None and not args:
            if padded:
                kwargs["allow_is_causal_skip"] = False
            else:
                kwargs["attention_mask"] = None
        return function(*args, **kwargs)

    return make

"""Masks that transformers makes without asking the device whether there is padding.

Its mask functions read the padding mask, and wait for the device, to leave a mask out where there
is no padding; without a padding mask they read the positions, in search of packed sequences, and
again wait to know whether there are any. A step knows all of it from its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor
from transformers import masking_utils

from tokenseek_core._anatomy import replaced
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
    mask = batch.attention_mask
    with ExitStack() as stack:
        if batch.sequences is not None:
            name = "find_packed_sequence_indices"
            stack.enter_context(replaced(masking_utils, name, sequence_indices))
        own = batch.read is None and batch.source is None  # the mask is that of these tokens
        if mask is None and own and batch.sequences is None:
            mask = batch.valid.long()
        known = own and mask is not None and mask.ndim == 2
        token = _padded.set(min(batch.counts.lengths) < batch.labels.shape[1] if known else None)
        stack.callback(_padded.reset, token)
        yield mask


def sequence_indices(position_ids: Int[Tensor, "b s"]) -> Int[Tensor, "b s"]:
    """Which of a row's sequences each token belongs to, for rows that are known to have several."""
    begins = position_ids.diff(dim=1) != 1
    return F.pad(begins.cumsum(1), (1, 0))


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

"""The one attention function that transformers dispatches to while TokenSeek is applied.

It is registered once per backend ("tokenseek_sdpa", "tokenseek_eager", ...), so its name says where
to delegate. What a pass does with queries, keys and values travels as the keyword argument
`tokenseek` through the model's own `**kwargs`. Nothing lies in modules or threads between calls, so
gradient checkpointing, which captures keyword arguments, recomputes with the right state even in
autograd's own threads. `row_pass`, which goes with it, is for adapters in front of the model.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tokenseek_common import InputError
from tokenseek_common.rows import RowRecord, RowSelection
from tokenseek_core._padding import unread

PREFIX = "tokenseek_"
HELD = "tokenseek_pass"
"""Where a module holds the pass while it runs, should it not pass on what it is given."""

BACKENDS = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4")

BEYOND_SDPA = ("softcap", "s_aux", "sinks")
"""Arguments that change values and that sdpa does not know; the model's eager attention does."""

OF_EACH_KEY = ("position_bias", "indices", "block_indices")
"""Arguments with an entry for each key, which a pass over a few rows cannot make."""

Attended = tuple[Tensor, Tensor | None]


class Attention(Protocol):
    """The signature that transformers gives every attention function."""

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **kwargs: Any,
    ) -> Attended:
        """Attend: [b, n_h, s, d] to [b, s, n_h, d]."""


class Pass(Protocol):
    """One pass over the model that wants to see every attention call."""

    def attend(
        self,
        backend: str,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **kwargs: Any,
    ) -> Attended:
        """Stand in for `backend` at `module`."""


def register(backend: str) -> str:
    """Register the attention function that delegates to `backend`, and return its name.

    Raises:
        InputError: The backend hides queries, keys or masks in a form of its own.
    """
    if backend not in BACKENDS:
        raise InputError(
            f"attn_implementation ({backend}) must be one of {', '.join(BACKENDS)}; "
            'load the model with attn_implementation="sdpa"'
        )
    name = PREFIX + backend

    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        tokenseek: Pass | None = None,
        row_pass: RowRecord | RowSelection | None = None,
        **kwargs: Any,
    ) -> Attended:
        tokenseek = vars(module).get(HELD) if tokenseek is None else tokenseek
        if tokenseek is None:
            return delegate(backend, module)(module, query, key, value, attention_mask, **kwargs)
        return tokenseek.attend(backend, module, query, key, value, attention_mask, **kwargs)

    ALL_ATTENTION_FUNCTIONS.register(name, attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(name, unread(ALL_MASK_ATTENTION_FUNCTIONS[backend]))
    return name


def delegate(backend: str, module: nn.Module) -> Attention:
    """The function that `backend` stands for at `module`; "eager" lives beside the model.

    Raises:
        InputError: The model has none beside it.
    """
    if backend == "eager":
        eager: Attention | None = getattr(
            sys.modules[type(module).__module__], "eager_attention_forward", None
        )
        if eager is None:
            raise InputError(
                f"model ({type(module).__name__}) must have an eager_attention_forward; "
                'load it with attn_implementation="sdpa"'
            )
        return eager
    registered: Attention = ALL_ATTENTION_FUNCTIONS[backend]
    return registered


def given(names: Iterable[str], arguments: Mapping[str, Any]) -> str | None:
    """The first of `names` that an attention call was given a value for."""
    return next((name for name in names if arguments.get(name) is not None), None)


def is_causal(module: nn.Module, requested: bool | None) -> bool:
    """Whether `module` hides later keys when it is given no mask, as transformers decides it."""
    return bool(getattr(module, "is_causal", True) if requested is None else requested)


def own(states: Tensor) -> Tensor:
    """Detach `states`, and give them a storage of exactly their size.

    A part of a larger buffer (a fused projection) would keep all of it alive; what is expanded over
    heads could not be written to.
    """
    states = states.detach()
    shared = states.untyped_storage().nbytes() != states.nbytes or 0 in states.stride()
    return states.clone() if shared else states

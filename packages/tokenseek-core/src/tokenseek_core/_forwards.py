"""The forwards that stand over each other on one model: its own, ours, a trainer's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

FUSED = "fused_lm_head"
"""The keyword by which TRL's trainers ask a model for the log-probability of each token."""


def wrapped(forward: Callable[..., Any] | None) -> Iterator[Callable[..., Any]]:
    """A function and those that it is around, as wrappers say by `__wrapped__`."""
    while forward is not None:
        yield forward
        forward = getattr(forward, "__wrapped__", None)


def leads_to(forward: Callable[..., Any] | None, ours: Callable[..., Any]) -> bool:
    """Whether a function is `ours` or around it; None is the class's own."""
    function = getattr(ours, "__func__", None)
    return any(link in (ours, function) for link in wrapped(forward))


def put_by_trainer(forward: Callable[..., Any] | None) -> bool:
    """Whether a trainer put it on the model while setting up: TRL's head, or Liger's loss."""
    return any(
        FUSED in getattr(getattr(link, "__code__", None), "co_varnames", ())
        or str(getattr(link, "__module__", "")).startswith("liger_kernel.")
        for link in wrapped(forward)
    )


def put_back(model: nn.Module, name: str, method: object) -> None:
    """Let a method of one model be what it was; None is its class's own."""
    del vars(model)[name]
    if method is not None:
        vars(model)[name] = method

"""One TokenSeek step, taken and looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from slow_reference import gradients
from tokenseek_core import TokenSeekConfig, TokenSeekHandle, apply_tokenseek


@dataclass(frozen=True)
class Taken:
    """Loss, gradients, kept tokens of a step, and what each of them stands for, [b, s].

    Of an encoder in front of a decoder, the kept tokens, and what they stand for, [b, n].
    """

    loss: float
    gradients: dict[str, Tensor]
    keep: Tensor
    importance: Tensor
    source: Tensor | None = None
    source_importance: Tensor | None = None


def kept(handle: TokenSeekHandle, shape: torch.Size) -> Tensor:
    """The kept tokens as a mask; that there are any shows that the replay ran."""
    assert handle.last is not None
    keep = torch.zeros(shape, dtype=torch.bool)
    rows = torch.arange(shape[0])[:, None].expand_as(handle.last.indices)
    keep[rows[handle.last.active], handle.last.indices[handle.last.active]] = True
    return keep


def back_from(loss: Tensor, model: nn.Module, handle: TokenSeekHandle) -> Taken:
    """Back-propagate a step's loss, and take the gradients off the model."""
    loss.backward()
    assert handle.last is not None
    keep = kept(handle, handle.last.scores.shape)
    importance = torch.ones(keep.shape, dtype=loss.dtype)
    importance.scatter_(1, handle.last.indices, handle.last.importance.to(loss.dtype))
    source = handle.last.source
    if source is None:
        return Taken(loss.item(), gradients(model), keep, importance)
    return Taken(loss.item(), gradients(model), keep, importance, source > 0, source.to(loss.dtype))


def take_step(model: nn.Module, batch: dict[str, Any], config: TokenSeekConfig) -> Taken:
    """Apply, step, remove."""
    with apply_tokenseek(model, config) as handle:
        return back_from(model(**batch).loss, model, handle)


def always(ratio: float = 0.3, **settings: Any) -> TokenSeekConfig:
    """The paper's settings, except for those given, and never falling back to a dense step."""
    return replace(TokenSeekConfig.paper(), ratio=ratio, dense_above=None, **settings)

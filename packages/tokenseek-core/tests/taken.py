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
    """Loss, gradients and kept tokens [b, s] of a step."""

    loss: float
    gradients: dict[str, Tensor]
    keep: Tensor


def kept(handle: TokenSeekHandle, shape: torch.Size) -> Tensor:
    """The kept tokens as a mask; that there are any shows that the replay ran."""
    assert handle.last is not None
    keep = torch.zeros(shape, dtype=torch.bool)
    rows = torch.arange(shape[0])[:, None].expand_as(handle.last.indices)
    keep[rows[handle.last.active], handle.last.indices[handle.last.active]] = True
    return keep


def take_step(model: nn.Module, batch: dict[str, Any], config: TokenSeekConfig) -> Taken:
    """Apply, step, remove."""
    with apply_tokenseek(model, config) as handle:
        loss = model(**batch).loss
        loss.backward()
        keep = kept(handle, batch["labels"].shape)
    return Taken(loss.item(), gradients(model), keep)


def always(ratio: float = 0.3, **settings: Any) -> TokenSeekConfig:
    """The paper's settings, except for those given, and never falling back to a dense step."""
    return replace(TokenSeekConfig.paper(), ratio=ratio, dense_above=None, **settings)

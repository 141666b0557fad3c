"""A TokenSeek step held to the slow reference of its gradient."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn
from transformers import PreTrainedModel

from families import tiny_batch, tiny_model, with_lora
from float64 import spare_float64
from slow_inject import slow_inject
from slow_reference import gradients, relative_error, slow_loss
from taken import Taken, always, take_step
from tiny_models import checkpointed
from tokenseek_core import TokenSeekConfig

BOUND = 1e-10


def exact_model(monkeypatch: pytest.MonkeyPatch, family: str = "llama") -> PreTrainedModel:
    """A tiny model that rounds to nothing below float64."""
    model = tiny_model(family)
    spare_float64(monkeypatch)
    return model


def assert_reference(
    taken: Taken,
    model: PreTrainedModel,
    batch: dict[str, Any],
    outer: nn.Module | None = None,
    gradient: str = "restart",
) -> None:
    """Compare a step that was taken; `outer` has the parameters where `model` is wrapped."""
    if gradient == "restart":
        reference = slow_loss(model, batch, taken.keep)
        reference.backward()
    else:
        reference = slow_inject(model, batch, taken.keep)
    assert taken.loss == pytest.approx(reference.item(), rel=BOUND)
    assert relative_error(taken.gradients, gradients(outer or model)) < BOUND


def assert_exact(
    model: PreTrainedModel,
    batch: dict[str, Any],
    config: TokenSeekConfig | None = None,
    outer: nn.Module | None = None,
) -> Taken:
    """Take a step, and compare it."""
    config = config or always()
    taken = take_step(outer or model, batch, config)
    assert_reference(taken, model, batch, outer, config.gradient)
    return taken


def assert_exact_again(monkeypatch: pytest.MonkeyPatch, way: str, gradient: Any) -> None:
    """Compare a step of which parts are computed again: by checkpointing, reentrant, or LoRA."""
    model = exact_model(monkeypatch)
    trained: nn.Module = with_lora(model) if way == "lora" else model
    if way == "reentrant":
        checkpointed(model, use_reentrant=True)
    if way == "checkpointing":
        checkpointed(model)
    taken = take_step(trained, tiny_batch("left"), always(gradient=gradient))
    checkpointed(model, enable=False)
    assert_reference(taken, model, tiny_batch("left"), trained, gradient=gradient)

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from exact import BOUND, exact_model
from families import tiny_batch
from slow_reference import gradients, relative_error
from taken import always
from tokenseek_core import apply_tokenseek

fabric = pytest.importorskip("lightning_fabric", reason="Lightning's Fabric is not there")
pytestmark = pytest.mark.trainers


def step(model: Any, gradient: Any = None, order: str = "") -> tuple[float, dict[str, Tensor]]:
    """The loss and the gradients of a step; without a `gradient`, the untouched model's."""
    config = None if gradient is None else always(1.0, gradient=gradient)
    made = fabric.Fabric(accelerator="cpu", devices=1, precision="64-true")
    handle = apply_tokenseek(model, config) if config and order == "before" else None
    outer, _ = made.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
    if config and order == "after":
        handle = apply_tokenseek(outer, config)
    loss = outer(**tiny_batch("left")).loss
    made.backward(loss)
    if handle is not None:
        assert handle.last is not None
        handle.remove()
    return loss.item(), gradients(model)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_a_step_in_fabric_with_every_token_kept_is_that_without_tokenseek(
    monkeypatch: pytest.MonkeyPatch, gradient: str, order: str
) -> None:
    model = exact_model(monkeypatch)
    loss, expected = step(model)
    found, ours = step(model, gradient, order)
    assert found == pytest.approx(loss, rel=BOUND)
    assert relative_error(ours, expected) < BOUND

from __future__ import annotations

import pytest
from torch import Tensor
from transformers import PreTrainedModel

from exact import exact_model
from families import tiny_batch
from slow_reference import relative_error
from tokenseek_core import TokenSeekConfig
from tokenseek_core.inspect import Method, chunked_loss, methods, using


def gradients(
    model: PreTrainedModel, method: Method, batch: dict[str, Tensor]
) -> dict[str, Tensor]:
    model.zero_grad()
    with using(model, method):
        method.loss_of(model, batch).backward()
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: grad.clone() for name, grad in grads.items() if grad is not None}


@pytest.mark.parametrize(("family", "padding"), [("llama-tied", "left"), ("gemma2", "none")])
def test_the_loss_in_chunks_has_the_dense_gradient(
    monkeypatch: pytest.MonkeyPatch, family: str, padding: str
) -> None:
    model, batch = exact_model(monkeypatch, family), tiny_batch(padding)
    rows = 3 * model.config.vocab_size * 8
    monkeypatch.setattr("tokenseek_core._chunks.LEAST", rows)
    monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", rows)
    dense, _, chunked, *_ = methods(TokenSeekConfig())
    assert chunked.loss is chunked_loss
    expected, ours = (gradients(model, method, batch) for method in (dense, chunked))
    assert relative_error(ours, expected) < 1e-10
    loss = chunked_loss(model, batch).item()
    assert loss == pytest.approx(model(**batch).loss.item(), rel=1e-10)

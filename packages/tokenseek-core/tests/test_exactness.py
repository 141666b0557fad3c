from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from families import FAMILIES, checkpointed, tiny_batch, tiny_model
from slow_reference import gradients, in_float64, relative_error, slow_loss
from tokenseek_core import TokenSeekConfig, TokenSeekHandle, apply_tokenseek

BOUND = 1e-10


def kept(handle: TokenSeekHandle, shape: torch.Size) -> Tensor:
    """The kept tokens as a mask; that there are any shows that the replay ran."""
    assert handle.last is not None
    keep = torch.zeros(shape, dtype=torch.bool)
    rows = torch.arange(shape[0])[:, None].expand_as(handle.last.indices)
    keep[rows[handle.last.active], handle.last.indices[handle.last.active]] = True
    return keep


def step(
    model: PreTrainedModel, batch: dict[str, Tensor], config: TokenSeekConfig
) -> tuple[float, dict[str, Tensor], Tensor]:
    """Loss, gradients and kept tokens of one TokenSeek step."""
    with apply_tokenseek(model, config) as handle:
        loss = model(**batch).loss
        loss.backward()
        keep = kept(handle, batch["input_ids"].shape)
    return loss.item(), gradients(model), keep


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    model = tiny_model(request.param)
    in_float64(monkeypatch, model)
    return model


@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_keeping_every_token_equals_the_untouched_model(
    model: PreTrainedModel, padding: str
) -> None:
    batch = tiny_batch(padding)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs).logits
    dense = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    dense.backward()
    expected = gradients(model)

    loss, found, keep = step(model, batch, TokenSeekConfig(ratio=1.0, dense_above=None))

    assert torch.equal(keep, batch.get("attention_mask", torch.ones_like(keep)).bool())
    assert loss == pytest.approx(dense.item(), rel=BOUND)
    assert relative_error(found, expected) < BOUND


@pytest.mark.parametrize("selector", ["tokenseek", "random"])
@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_gradient_equals_the_slow_reference(
    model: PreTrainedModel, selector: str, padding: str, checkpointing: bool
) -> None:
    batch = tiny_batch(padding)
    if checkpointing:
        checkpointed(model)
    config = TokenSeekConfig(ratio=0.3, selector=selector, dense_above=None)  # type: ignore[arg-type]

    loss, found, keep = step(model, batch, config)

    checkpointed(model, enable=False)
    lengths = batch.get("attention_mask", torch.ones_like(keep)).sum(1)
    assert keep.sum(1).tolist() == [-(-3 * int(n) // 10) for n in lengths]
    reference = slow_loss(model, batch, keep)
    reference.backward()
    assert loss == pytest.approx(reference.item(), rel=BOUND)
    assert relative_error(found, gradients(model)) < BOUND

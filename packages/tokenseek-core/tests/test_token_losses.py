"""Losses of tokens, for losses of one's own: with the gradient of a step that keeps all answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from exact import BOUND, exact_model
from families import with_lora
from slow_reference import gradients, relative_error, slow_attention
from taken import kept
from test_answers import ANSWERS, turns
from tokenseek_common import InputError
from tokenseek_core import TokenSeekConfig, apply_tokenseek


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    return exact_model(monkeypatch, "llama-tied")


def slow_losses(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of each token, [b, s], of all logits."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs, use_cache=False).logits
    targets = F.pad(batch["labels"][:, 1:], (0, 1), value=-100)
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=-100)


def curved(losses: Tensor) -> Tensor:
    """A loss that no weights of the tokens could make: instances against each other."""
    scores = -losses.sum(1)
    return -F.logsigmoid(scores[0] - scores[1]) + scores[2].square() / 100


@pytest.mark.parametrize("logits", [False, True], ids=["chunks", "logits"])
@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_any_loss_of_them_has_the_gradient_of_the_slow_reference(
    llama: PreTrainedModel, padding: str, logits: bool
) -> None:
    batch = turns(padding)
    with apply_tokenseek(llama, replace(ANSWERS, logits=logits)) as handle:
        losses = handle.token_losses(**batch)
        curved(losses).backward()
        keep = kept(handle, batch["labels"].shape)
    found = gradients(llama)
    with slow_attention(llama, keep):
        expected = slow_losses(llama, batch)
    curved(expected).backward()
    assert relative_error(found, gradients(llama)) < BOUND
    real = batch.get("attention_mask", torch.ones_like(batch["labels"])).bool()
    torch.testing.assert_close(losses[real], expected[real])


def test_adapters_get_it_too(llama: PreTrainedModel) -> None:
    batch, adapted = turns("right"), with_lora(llama)
    with apply_tokenseek(adapted, ANSWERS) as handle:
        curved(handle.token_losses(**batch)).backward()
        keep = kept(handle, batch["labels"].shape)
    found = gradients(adapted)
    with slow_attention(llama, keep):
        curved(slow_losses(adapted, batch)).backward()
    assert relative_error(found, gradients(adapted)) < BOUND


def test_without_gradients_they_are_those_of_a_forward_pass(llama: PreTrainedModel) -> None:
    batch = turns("right")
    llama.eval().requires_grad_(False)
    with apply_tokenseek(llama, TokenSeekConfig.answers()) as handle, torch.no_grad():
        losses = handle.token_losses(**batch)
        assert handle.last is None
    torch.testing.assert_close(losses, slow_losses(llama, batch))


def test_the_mean_of_them_is_the_loss_of_a_step(llama: PreTrainedModel) -> None:
    batch = turns()
    with apply_tokenseek(llama, ANSWERS) as handle:
        losses = handle.token_losses(**batch)
        loss = llama(**batch).loss
    torch.testing.assert_close(losses.sum() / (losses > 0).sum(), loss)


@pytest.mark.parametrize(
    "config",
    [TokenSeekConfig(), replace(ANSWERS, answer_ratio=0.5), replace(ANSWERS, gradient="inject")],
)
def test_a_config_that_leaves_losses_out_is_refused(
    llama: PreTrainedModel, config: TokenSeekConfig
) -> None:
    with (
        apply_tokenseek(llama, config) as handle,
        pytest.raises(
            InputError, match=r"must be 1 and restart, .* use TokenSeekConfig.answers\(\)"
        ),
    ):
        handle.token_losses(**turns())


def test_what_cannot_be_a_step_is_refused(llama: PreTrainedModel) -> None:
    batch = turns()
    handle = apply_tokenseek(llama, ANSWERS)
    with pytest.raises(InputError, match="labels must be given"):
        handle.token_losses(input_ids=batch["input_ids"])
    llama.eval()
    with pytest.raises(InputError, match=r"call model.train\(\), or token_losses under"):
        handle.token_losses(**batch)
    handle.remove()
    with pytest.raises(InputError, match=r"before handle.remove\(\)"):
        handle.token_losses(**batch)

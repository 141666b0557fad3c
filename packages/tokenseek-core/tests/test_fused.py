"""Steps for a forward that gives the log-probability of each token, as TRL's trainers put one."""

from __future__ import annotations

import types
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from exact import BOUND, assert_reference, exact_model
from families import tiny_batch, tiny_model
from slow_reference import gradients, relative_error
from taken import Taken, always, back_from
from tokenseek_common import InputError
from tokenseek_core import TokenSeekConfig, TokenSeekNotRunWarning, apply_tokenseek


@dataclass
class OfTokens(ModelOutput):
    loss: Tensor | None = None
    log_probs: Tensor | None = None
    entropy: Tensor | None = None
    mean_logits: Tensor | None = None
    label_mask: Tensor | None = None


def put_head(model: PreTrainedModel, *names: str) -> None:
    """Put a forward on the model that takes `fused_lm_head`, as TRL does."""
    before = model.forward

    def forward(
        self: Any,
        *args: Any,
        fused_lm_head: bool = False,
        labels: Any = None,
        shift_labels: Any = None,
        **kwargs: Any,
    ) -> Any:
        if not fused_lm_head:
            return before(*args, labels=labels, **kwargs)
        hidden = self.model(*args, **kwargs).last_hidden_state
        targets = labels[:, 1:] if shift_labels is None else shift_labels
        log_p = self.lm_head(hidden[:, : targets.shape[1]]).log_softmax(-1)
        mask = targets != -100
        picked = log_p.gather(2, targets.clamp(min=0)[..., None])[..., 0] * mask
        found = {"entropy": -(log_p.exp() * log_p).sum(-1), "mean_logits": log_p.mean(-1)}
        return OfTokens(
            loss=-picked.sum() / mask.sum(),
            log_probs=picked,
            label_mask=mask,
            **{name: found[name].detach() * mask for name in names},
        )

    forward.__wrapped__ = type(model).forward  # type: ignore[attr-defined]
    vars(model)["forward"] = types.MethodType(forward, model)


def take_fused(model: PreTrainedModel, config: TokenSeekConfig, **batch: Any) -> Taken:
    """A step whose loss is the mean of all tokens', made outside of the model."""
    with apply_tokenseek(model, config) as handle:
        output = model(**batch, fused_lm_head=True)
        loss = -output.log_probs.sum() / output.label_mask.sum()
        assert output.loss.item() == pytest.approx(loss.item(), rel=BOUND)
        return back_from(loss, model, handle)


@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_a_step_equals_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, gradient: Any, padding: str
) -> None:
    model = exact_model(monkeypatch)
    put_head(model, "entropy")
    batch = tiny_batch(padding)
    taken = take_fused(model, always(0.4, selector="gradient", gradient=gradient), **batch)
    del vars(model)["forward"]
    assert_reference(taken, model, batch, gradient=gradient)


@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_every_token_has_the_numbers_of_the_forward_beneath(gradient: Any) -> None:
    model, batch = tiny_model("llama"), tiny_batch("left")
    put_head(model, "entropy")
    expected = model(**batch, fused_lm_head=True)
    with apply_tokenseek(model, always(1.0, gradient=gradient)):
        found = model(**batch, fused_lm_head=True)
    assert type(found) is OfTokens
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, check_dtype=False)


def test_labels_that_came_shifted_have_a_number_each() -> None:
    model, batch = tiny_model("llama"), tiny_batch("left")
    put_head(model)
    labels = batch["labels"]
    batch["shift_labels"] = F.pad(labels[:, 1:], (0, 1), value=-100)
    with apply_tokenseek(model, always(1.0)):
        found = model(**batch, fused_lm_head=True)
    expected = model(**batch, fused_lm_head=True)
    assert found.log_probs.shape == labels.shape
    torch.testing.assert_close(found.log_probs, expected.log_probs)


def test_any_loss_may_be_made_where_all_tokens_are_kept_that_carry_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, batch = exact_model(monkeypatch), tiny_batch("left")
    put_head(model, "mean_logits")
    model(**batch, fused_lm_head=True).log_probs[:, 1:].square().sum().backward()
    expected = gradients(model)
    config = replace(TokenSeekConfig.answers(1.0), dense_above=None)
    with apply_tokenseek(model, config):
        model(**batch, fused_lm_head=True).log_probs[:, 1:].square().sum().backward()
    assert relative_error(gradients(model), expected) < BOUND


@pytest.mark.parametrize("gradient", ["restart", "inject"])
@pytest.mark.parametrize("told", [True, False], ids=["by what it logs", "by its gradient"])
def test_other_losses_are_refused_where_tokens_are_left_out(gradient: Any, told: bool) -> None:
    model = tiny_model("llama")
    put_head(model, *(["mean_logits"] if told else []))
    with (
        apply_tokenseek(model, always(gradient=gradient)),
        pytest.raises(InputError) as error,
    ):
        model(**tiny_batch(), fused_lm_head=True).log_probs.square().sum().backward()
    assert str(error.value) == (
        "loss (of a trainer of TRL) must be the mean of the tokens' where not all that carry it "
        "are kept; take TokenSeekConfig.answers(), which keeps them, or learn from pairs by "
        "tokenseek_core.preference.train_preferences"
    )


@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_a_batch_without_labels_to_learn_from_gives_zeros(gradient: Any) -> None:
    model, batch = tiny_model("llama"), tiny_batch()
    put_head(model)
    batch["labels"] = torch.full_like(batch["labels"], -100)
    with (
        apply_tokenseek(model, always(gradient=gradient)),
        pytest.warns(UserWarning, match="nothing to learn from"),
    ):
        output = model(**batch, fused_lm_head=True)
    output.log_probs.sum().backward()
    assert output.loss == 0
    assert not any(gradient.any() for gradient in gradients(model).values())


def test_a_step_that_is_dense_by_its_config_is_that_of_the_forward_beneath() -> None:
    model, batch = tiny_model("llama"), tiny_batch()
    put_head(model)
    expected = model(**batch, fused_lm_head=True)
    for config in (TokenSeekConfig(ratio=0.7), TokenSeekConfig.answers(1.0)):
        with apply_tokenseek(model, config) as handle:
            found = model(**batch, fused_lm_head=True)
        assert handle.last is None
        assert torch.equal(found.log_probs, expected.log_probs)


def test_training_in_evaluation_mode_is_noticed() -> None:
    model = tiny_model("llama").eval()
    put_head(model)
    with apply_tokenseek(model, always()):
        output = model(**tiny_batch(), fused_lm_head=True)
        with pytest.warns(TokenSeekNotRunWarning, match=r"call model\.train"):
            output.log_probs.sum().backward()


def test_such_a_forward_put_over_tokenseek_lies_beneath_it_once_training_begins() -> None:
    model, batch = tiny_model("llama"), tiny_batch()
    handle = apply_tokenseek(model, always())
    put_head(model)
    head = model.forward
    with pytest.raises(InputError, match="must not replace TokenSeek's"):
        model(**batch, fused_lm_head=True)
    model.train()
    model(**batch, fused_lm_head=True)
    assert handle.last is not None
    model.eval()
    with torch.no_grad():
        assert model(**batch).logits.shape == (3, 20, 61)
    handle.remove()
    assert model.forward == head
    assert "train" not in vars(model)
    assert model(**batch).logits.shape == (3, 20, 61)


def test_a_train_put_on_the_model_is_called_and_comes_back() -> None:
    model = tiny_model("llama")
    modes: list[bool] = []

    own = model.train

    def train(mode: bool = True) -> PreTrainedModel:
        modes.append(mode)
        own(mode)
        return model

    vars(model)["train"] = train
    with apply_tokenseek(model, always()):
        assert model.eval() is model
        assert model.train() is model
    assert modes == [False, True]
    assert vars(model)["train"] is train

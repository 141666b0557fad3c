from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from exact import BOUND, assert_exact, assert_reference, exact_model
from families import tiny_batch, tiny_model, with_lora
from slow_reference import gradients, relative_error, slow_loss
from taken import always, kept, take_step
from tokenseek_common import InputError
from tokenseek_core import apply_tokenseek


def own_embeddings(model: Any, input_ids: Tensor) -> Tensor:
    embeddings: Tensor = model.get_input_embeddings()(input_ids)
    return embeddings


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_embeddings_in_place_of_tokens_equal_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, lora: bool
) -> None:
    model = exact_model(monkeypatch)
    outer = with_lora(model) if lora else model
    batch = tiny_batch("left")
    ids = batch.pop("input_ids")
    if lora:
        model.get_input_embeddings().requires_grad_(True)

    with apply_tokenseek(outer, always()) as handle:
        loss = outer(**batch, inputs_embeds=own_embeddings(model, ids)).loss
        loss.backward()
        keep = kept(handle, ids.shape)
    found = gradients(outer)
    assert any("embed_tokens" in name for name in found)

    reference = slow_loss(model, {**batch, "inputs_embeds": own_embeddings(model, ids)}, keep)
    reference.backward()
    assert loss.item() == pytest.approx(reference.item(), rel=BOUND)
    assert relative_error(found, gradients(outer)) < BOUND


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_tokens_and_embeddings_at_once_are_what_the_model_itself_refuses(family: str) -> None:
    model = tiny_model(family)
    batch = tiny_batch()
    both = {**batch, "inputs_embeds": own_embeddings(model, batch["input_ids"])}
    with pytest.raises(ValueError, match="input_ids") as dense:
        model(**both)
    with apply_tokenseek(model, always()), pytest.raises(ValueError, match="input_ids") as error:
        model(**both)
    assert str(error.value) == str(dense.value)


def test_token_types_go_with_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = exact_model(monkeypatch, "gpt2")
    torch.manual_seed(2)
    types = torch.randint(3, 61, (3, 20))
    assert_exact(model, {**tiny_batch("right"), "token_type_ids": types})


@pytest.mark.parametrize("kind", ["boolean", "additive"])
def test_masks_of_four_axes_equal_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    model = exact_model(monkeypatch)
    torch.manual_seed(2)
    allowed = torch.rand(3, 1, 20, 20).tril() > 0.2
    allowed |= torch.eye(20, dtype=torch.bool)
    additive = torch.zeros(allowed.shape, dtype=torch.double).masked_fill(~allowed, -1e300)
    batch = tiny_batch()

    mask = allowed if kind == "boolean" else additive
    taken = take_step(model, {**batch, "attention_mask": mask}, always())

    assert_reference(taken, model, {**batch, "attention_mask": additive})


def test_labels_shifted_by_the_trainer_take_the_place_of_our_shift(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = exact_model(monkeypatch)
    batch = tiny_batch("left")
    shifted = F.pad(batch["labels"][:, 1:], (0, 1), value=-100)
    taken = take_step(model, {**batch, "shift_labels": shifted}, always())
    assert_reference(taken, model, batch)


@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_an_instance_of_padding_alone_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, gradient: Any
) -> None:
    model = exact_model(monkeypatch)
    config = always(gradient=gradient)
    batch = tiny_batch("left")
    expected = take_step(model, batch, config)
    nothing = {"input_ids": 0, "labels": -100, "attention_mask": 0, "position_ids": 0}
    longer = {n: F.pad(v, (0, 0, 0, 1), value=nothing[n]) for n, v in batch.items()}

    taken = take_step(model, longer, config)

    assert torch.equal(taken.keep, F.pad(expected.keep, (0, 0, 0, 1)))
    assert taken.loss == pytest.approx(expected.loss, rel=BOUND)
    assert relative_error(taken.gradients, expected.gradients) < BOUND


def test_single_tokens_have_no_target_and_no_gradient() -> None:
    """The dense loss, a mean over nothing, is NaN here."""
    batch = {name: value[:, :1] for name, value in tiny_batch().items()}
    with pytest.warns(UserWarning, match=r"labels \(all -100\) have nothing to learn from"):
        taken = take_step(tiny_model("llama"), batch, always())
    assert taken.loss == 0
    assert all(torch.equal(g, torch.zeros_like(g)) for g in taken.gradients.values())


def of_shape(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.long)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"labels": of_shape(3, 19)},
            "labels ([3, 19]) must have shape [b, s], here [3, 20]; give one entry for each token",
        ),
        (
            {"labels": of_shape(20)},
            "labels ([20]) must have shape [b, s], here [3, 20]; give one entry for each token",
        ),
        (
            {"shift_labels": of_shape(3, 19)},
            "shift_labels ([3, 19]) must have shape [b, s], here [3, 20]; "
            "give one entry for each token",
        ),
        (
            {"position_ids": of_shape(3, 19)},
            "position_ids ([3, 19]) must have shape [b, s], here [3, 20]; "
            "give one entry for each token",
        ),
        (
            {"token_type_ids": of_shape(60)},
            "token_type_ids ([60]) must have shape [b, s], here [3, 20]; "
            "give one entry for each token",
        ),
        (
            {"attention_mask": of_shape(3, 20, 20)},
            "attention_mask ([3, 20, 20]) must have shape [b, s], here [3, 20], or [b, h, s, s]; "
            "pass the tokenizer's",
        ),
        (
            {"attention_mask": of_shape(3, 1, 20, 19)},
            "attention_mask ([3, 1, 20, 19]) must have shape [b, s], here [3, 20], or "
            "[b, h, s, s]; pass the tokenizer's",
        ),
        (
            {"attention_mask": {"full_attention": None}},
            "attention_mask (dict) must have shape [b, s], here [3, 20], or [b, h, s, s]; "
            "pass the tokenizer's",
        ),
        (
            {"attention_mask": 0 * of_shape(3, 20)},
            "attention_mask, labels ([3, 20]) must hold at least one token that is not padding; "
            "leave empty batches out",
        ),
        (
            {"input_ids": of_shape(0, 20), "labels": of_shape(0, 20)},
            "attention_mask, labels ([0, 20]) must hold at least one token that is not padding; "
            "leave empty batches out",
        ),
        (
            {"input_ids": of_shape(3, 0), "labels": of_shape(3, 0)},
            "attention_mask, labels ([3, 0]) must hold at least one token that is not padding; "
            "leave empty batches out",
        ),
        (
            {"ignore_index": 0},
            "ignore_index must be -100 in a TokenSeek step; leave it out, and give that label to "
            "what has no target",
        ),
        (
            {"output_router_logits": True},
            "output_router_logits must be unset in a TokenSeek step; leave it out (with TRL: "
            "router_aux_loss_coef=0.0), the loss of the routers needs all rows",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_a_sentence(
    arguments: dict[str, Any], text: str
) -> None:
    model = tiny_model("llama")
    with apply_tokenseek(model, always()), pytest.raises(InputError) as error:
        model(**tiny_batch() | arguments)
    assert str(error.value) == text


@pytest.mark.parametrize("name", ["output_hidden_states", "output_router_logits"])
def test_what_the_config_asks_for_is_refused_as_what_the_call_asks_for(name: str) -> None:
    model = tiny_model("llama")
    setattr(model.config, name, True)
    with apply_tokenseek(model, always()), pytest.raises(InputError, match=f"{name} must be unset"):
        model(**tiny_batch())

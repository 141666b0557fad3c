from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from exact import BOUND, assert_reference, exact_model
from families import tiny_batch, tiny_model, with_lora
from slow_reference import gradients, relative_error
from taken import Taken, always, back_from, take_step
from tiny_models import checkpointed
from tokenseek_common import InputError
from tokenseek_core import TokenSeekHandle, apply_tokenseek

Toggle = Callable[[nn.Module], None]


def step(model: nn.Module, handle: TokenSeekHandle) -> Taken:
    batch = tiny_batch("left")
    return back_from(model(**batch).loss, model, handle)


def only(*parts: str) -> Toggle:
    """Train the parameters whose names hold one of `parts`."""

    def toggle(model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(part in name for part in parts))

    return toggle


TOGGLES = [
    only(""),
    only("layers.2", "norm", "lm_head"),  # lower blocks and embeddings are frozen
    only("layers", "norm", "lm_head"),  # the embeddings are
    only("layers", "norm", "embed_tokens"),  # the head is
    only("lm_head", "embed_tokens"),  # one weight where they are tied
    only("embed_tokens"),
    only(""),
]


@pytest.mark.parametrize("gradient", ["restart", "inject"])
@pytest.mark.parametrize("family", ["llama", "llama-tied"])
def test_parameters_may_be_frozen_and_freed_between_steps(
    monkeypatch: pytest.MonkeyPatch, family: str, gradient: Any
) -> None:
    model = exact_model(monkeypatch, family)
    taken = []
    with apply_tokenseek(model, always(gradient=gradient)) as handle:
        for toggle in TOGGLES:
            toggle(model)
            taken.append(step(model, handle))
    for toggle, one in zip(TOGGLES, taken, strict=True):
        toggle(model)
        assert one.gradients.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
        assert_reference(one, model, tiny_batch("left"), gradient=gradient)


@pytest.mark.parametrize("part", ["lm_head", "model.norm"])
def test_what_comes_after_the_blocks_may_be_trained_alone(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    model = exact_model(monkeypatch)
    only(part)(model)
    taken = take_step(model, tiny_batch("left"), always())
    assert len(taken.gradients) == 1
    assert_reference(taken, model, tiny_batch("left"))


def test_layers_below_adapters_may_be_freed_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    model = exact_model(monkeypatch)
    outer = with_lora(model)
    toggles = [only("lora"), only(""), only("lora", "layers.2", "embed_tokens")]
    taken = []
    with apply_tokenseek(outer, always()) as handle:
        for toggle in toggles:
            toggle(outer)
            taken.append(step(outer, handle))
    for toggle, one in zip(toggles, taken, strict=True):
        toggle(outer)
        assert_reference(one, model, tiny_batch("left"), outer)


def test_a_model_without_anything_to_train_is_refused() -> None:
    model = tiny_model("llama").requires_grad_(False)
    with pytest.raises(RuntimeError, match="does not require grad"):
        model(**tiny_batch()).loss.backward()  # what the untouched model says, and when
    with apply_tokenseek(model, always()), pytest.raises(InputError) as error:
        model(**tiny_batch())
    assert str(error.value) == (
        "model (LlamaForCausalLM) must have a parameter that requires grad; unfreeze one, or call "
        "the model under torch.no_grad()"
    )


def test_checkpointing_may_be_toggled_between_steps() -> None:
    model = tiny_model("llama-tied")
    with apply_tokenseek(model, always()) as handle:
        expected = step(model, handle)
        for enable in (True, False):
            taken = step(checkpointed(model, enable), handle)
            assert taken.loss == expected.loss
            assert relative_error(taken.gradients, expected.gradients) < BOUND


@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2"])
def test_reentrant_checkpointing_changes_no_gradient(family: str) -> None:
    model = tiny_model(family)
    expected = take_step(model, tiny_batch("right"), always())
    taken = take_step(checkpointed(model, use_reentrant=True), tiny_batch("right"), always())
    assert taken.loss == expected.loss
    assert relative_error(taken.gradients, expected.gradients) < BOUND


def test_reentrant_checkpointing_reaches_adapters_through_frozen_embeddings() -> None:
    model = tiny_model("llama")
    outer = with_lora(model)
    expected = take_step(outer, tiny_batch("right"), always())
    checkpointed(model, use_reentrant=True).enable_input_require_grads()
    taken = take_step(outer, tiny_batch("right"), always())
    assert relative_error(taken.gradients, expected.gradients) < BOUND


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_may_be_cast_after_tokenseek(dtype: torch.dtype) -> None:
    batch = tiny_batch("left")
    full = take_step(tiny_model("llama"), batch, always())
    model = tiny_model("llama")
    with apply_tokenseek(model, always(selector=lambda signals: full.keep.float())) as handle:
        nn.Module.to(model, dtype)
        taken = step(model, handle)
    assert all(gradient.dtype == dtype for gradient in taken.gradients.values())
    ours, exact = (torch.cat([g.flatten() for g in t.gradients.values()]) for t in (taken, full))
    assert torch.cosine_similarity(ours.double(), exact, dim=0) > 0.98
    before = nn.Module.to(tiny_model("llama"), dtype)
    same = take_step(before, batch, always(selector=lambda signals: full.keep.float()))
    assert all(torch.equal(g, same.gradients[n]) for n, g in taken.gradients.items())


@pytest.mark.parametrize("selector", ["tokenseek", "random"])
def test_scaled_and_accumulated_losses_scale_and_add_their_gradients(selector: str) -> None:
    model = tiny_model("llama-tied")
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    torch.manual_seed(4)
    with apply_tokenseek(model, always(selector=selector)):
        for seed in (1, 2):
            model(**tiny_batch("right", seed)).loss.backward()
        expected = gradients(model)
        torch.manual_seed(4)
        for seed in (1, 2):
            scaler.scale(model(**tiny_batch("right", seed)).loss / 2).backward()
        scaled = gradients(model)
    assert all(torch.equal(scaled[name], 512 * expected[name]) for name in expected)


def test_noise_on_the_embeddings_is_refused() -> None:
    model = tiny_model("llama")
    embeddings = model.get_input_embeddings()
    vars(embeddings)["neftune_noise_alpha"] = 5.0  # as the Trainer marks them
    with apply_tokenseek(model, always()), pytest.raises(InputError) as error:
        model(**tiny_batch())
    assert str(error.value) == (
        "neftune_noise_alpha (5.0) must be unset, both passes need the same embeddings; "
        "leave it out"
    )


def test_a_loss_of_ones_own_is_refused() -> None:
    def focal(logits: torch.Tensor, labels: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return logits.sum()

    model = tiny_model("llama")
    model.loss_function = focal
    with apply_tokenseek(model, always()), pytest.raises(InputError) as error:
        model(**tiny_batch())
    assert str(error.value) == (
        f"loss_function ({focal.__qualname__}) must be transformers' ForCausalLMLoss, the one that "
        "restarts on the kept rows; leave it as it was"
    )

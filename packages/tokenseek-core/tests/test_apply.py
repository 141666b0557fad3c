from __future__ import annotations

import copy
import inspect
import warnings

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPTJConfig, GPTJForCausalLM, PreTrainedModel

from families import FAMILIES, tiny_batch, tiny_model
from slow_reference import gradients
from taken import always, take_step
from tiny_models import tiny_config
from tokenseek_common import InputError
from tokenseek_core import TokenSeekConfig, TokenSeekNotRunWarning, apply_tokenseek


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_removal_restores_the_model_bit_for_bit(family: str) -> None:
    model = tiny_model(family).float()  # eager attention rounds float64 masks to infinity
    batch = tiny_batch("left")
    before = copy.deepcopy(model.state_dict())
    attributes, shared, hooked = set(vars(model)), model.config, hooks(model)
    backend = shared._attn_implementation
    loss = model(**batch).loss
    loss.backward()
    expected = gradients(model)

    handle = apply_tokenseek(model, always())
    model(**batch).loss.backward()
    gradients(model)
    handle.remove()
    handle.remove()  # a second time does nothing

    assert set(vars(model)) == attributes
    assert all(getattr(m, "config", shared) is shared for m in model.modules())
    assert shared._attn_implementation == backend
    assert hooks(model) == hooked
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = model(**batch).loss
    assert torch.equal(again, loss)
    again.backward()
    found = gradients(model)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_two_models_from_one_config_object_do_not_share_state() -> None:
    shared = tiny_config("llama")
    first = AutoModelForCausalLM.from_config(shared).train()
    second = AutoModelForCausalLM.from_config(shared).train()
    assert first.config is second.config
    batch = tiny_batch()
    expected = second(**batch).loss
    with apply_tokenseek(first, always()) as handle:
        first(**batch).loss.backward()
        assert handle.last is not None
        assert second.config._attn_implementation == "sdpa"
        assert torch.equal(second(**batch).loss, expected)
        with apply_tokenseek(second, always(ratio=0.5)) as other:
            second(**batch).loss.backward()
            assert other.last is not None
            assert handle.last.indices.shape != other.last.indices.shape


@pytest.mark.parametrize("case", ["evaluation", "no labels", "no grad", "dense above"])
def test_outside_a_training_step_the_model_is_untouched(case: str) -> None:
    model = tiny_model("llama")
    batch = tiny_batch("right")
    settings = TokenSeekConfig(ratio=0.7) if case == "dense above" else always()
    if case == "evaluation":
        model.eval()
    if case == "no labels":
        del batch["labels"]
    with torch.set_grad_enabled(case != "no grad"), warnings.catch_warnings():
        warnings.simplefilter("ignore", TokenSeekNotRunWarning)
        expected = model(**batch)
        with apply_tokenseek(model, settings) as handle:
            found = model(**batch)
    assert handle.last is None
    assert torch.equal(found.logits, expected.logits)
    assert (found.loss is None) == (case == "no labels")


def test_a_dense_step_leaves_no_report_of_an_earlier_one() -> None:
    model = tiny_model("llama")
    with apply_tokenseek(model, always()) as handle:
        model(**tiny_batch())
        assert handle.last is not None
        handle.config = TokenSeekConfig(ratio=0.7)
        model(**tiny_batch())
        assert handle.last is None


def test_generation_is_untouched() -> None:
    model = tiny_model("llama").float().eval()
    ids = tiny_batch()["input_ids"][:1, :5]
    arguments = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 6, "do_sample": False}
    expected = model.generate(ids, **arguments)
    with apply_tokenseek(model, always()):
        assert torch.equal(model.generate(ids, **arguments), expected)


def test_a_step_that_trains_without_tokenseek_is_noticed_once() -> None:
    model = tiny_model("llama")
    batch = tiny_batch()
    with apply_tokenseek(model, always()) as handle:
        model(**batch).loss.backward()
        del batch["labels"]
        with pytest.warns(TokenSeekNotRunWarning, match="trains densely"):
            model(**batch)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model(**batch)
        assert handle.last is not None


def test_a_backbone_that_is_called_directly_is_noticed() -> None:
    model = tiny_model("gpt2")
    with (
        apply_tokenseek(model, always()),
        pytest.warns(TokenSeekNotRunWarning, match="handle.remove"),
    ):
        model.base_model(tiny_batch()["input_ids"])


def test_the_patched_forward_keeps_its_signature() -> None:
    model = tiny_model("llama")
    expected = inspect.signature(model.forward)
    with apply_tokenseek(model, always()):
        assert inspect.signature(model.forward) == expected


def test_a_saved_config_says_nothing_of_tokenseek() -> None:
    model = tiny_model("llama")
    with apply_tokenseek(model, always()):
        assert "tokenseek" not in model.config.to_json_string()


def test_positional_arguments_are_understood() -> None:
    model = tiny_model("llama")
    batch = tiny_batch("right")
    named = take_step(model, batch, always())
    with apply_tokenseek(model, always()):
        output = model(
            batch["input_ids"],
            batch["attention_mask"],
            batch["position_ids"],
            labels=batch["labels"],
        )
    assert output.loss.item() == named.loss


def test_outputs_are_the_loss_and_the_logits_of_the_kept_rows() -> None:
    model = tiny_model("llama")
    with apply_tokenseek(model, always()):
        output = model(**tiny_batch())
    assert list(output.keys()) == ["loss", "logits"]
    assert output.logits.shape == (3, 6, 61)
    assert output[0] is output.loss


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"return_dict": False}, "return_dict (False) must be True in a TokenSeek step"),
        ({"output_attentions": True}, "output_attentions must be unset in a TokenSeek step"),
        ({"output_hidden_states": True}, "output_hidden_states must be unset in a TokenSeek step"),
        ({"logits_to_keep": 1}, "logits_to_keep must be unset in a TokenSeek step"),
        ({"past_key_values": object()}, "past_key_values must be unset in a TokenSeek step"),
        ({"foreign": torch.zeros(1)}, "foreign must be unset in a TokenSeek step"),
        ({"input_ids": None}, "input_ids (None) must be given with labels"),
        (
            {"position_ids": torch.zeros((3, 3, 20), dtype=torch.long)},
            "position_ids ([3, 3, 20]) must have shape [b, s]",
        ),
    ],
)
def test_what_a_step_cannot_give_is_refused_with_a_sentence(
    arguments: dict[str, object], text: str
) -> None:
    model = tiny_model("llama")
    with apply_tokenseek(model, always()), pytest.raises(InputError) as error:
        model(**tiny_batch() | arguments)
    assert str(error.value).startswith(text)


def test_models_without_the_attention_interface_are_refused() -> None:
    sizes = GPTJConfig(n_embd=16, n_layer=2, n_head=2, vocab_size=61, rotary_dim=4)
    model = GPTJForCausalLM(sizes)
    with pytest.raises(InputError, match=r"model \(GPTJForCausalLM\) must dispatch through"):
        apply_tokenseek(model)
    assert "forward" not in vars(model)


def test_models_without_a_head_are_refused() -> None:
    backbone = tiny_model("llama").base_model
    assert isinstance(backbone, PreTrainedModel)
    with pytest.raises(InputError, match=r"model \(LlamaModel\) must have a language-model head"):
        apply_tokenseek(backbone)
    assert backbone.config._attn_implementation == "sdpa"


def test_backends_with_masks_of_their_own_are_refused() -> None:
    model = tiny_model("llama")
    model.config._attn_implementation_internal = "flex_attention"
    with pytest.raises(InputError, match=r"attn_implementation \(flex_attention\) must be one of"):
        apply_tokenseek(model)
    assert model.config._attn_implementation == "flex_attention"


def test_anything_but_a_transformers_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"model \(Linear\) must be a transformers model"):
        apply_tokenseek(nn.Linear(2, 2))


def test_applying_twice_is_refused() -> None:
    model = tiny_model("llama")
    with (
        apply_tokenseek(model),
        pytest.raises(InputError, match="must not have TokenSeek applied already"),
    ):
        apply_tokenseek(model)

"""Prompts and TokenSeek come, go and are switched off in any order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mept import MeptConfig
from tiny import prompts_of, tiny_batch, tiny_model, tuned
from tokenseek_common import InputError
from tokenseek_core import TokenSeekConfig, apply_tokenseek

torch.set_num_threads(1)

CONFIG = TokenSeekConfig(ratio=0.4, selector="gradient")


def step(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one call."""
    torch.manual_seed(2)
    model.zero_grad()
    loss = model(**tiny_batch("llama")).loss
    loss.backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), found


def both() -> tuple[Tensor, dict[str, Tensor]]:
    """A step of prompts first, TokenSeek second."""
    model = tuned(tiny_model("llama"))
    with apply_tokenseek(model, CONFIG):
        return step(model)


def plain(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """A step of TokenSeek on a model without prompts."""
    with apply_tokenseek(model, CONFIG):
        return step(model)


def assert_equal(
    found: tuple[Tensor, dict[str, Tensor]], expected: tuple[Tensor, dict[str, Tensor]]
) -> None:
    """Bit for bit, whatever wraps the parameters."""
    assert torch.equal(found[0], expected[0])
    gradients = [
        {n.removeprefix("base_model.model.").replace(".base_layer", ""): g for n, g in each.items()}
        for each in (found[1], expected[1])
    ]
    assert gradients[0].keys() == gradients[1].keys() != set()
    for name, gradient in gradients[1].items():
        assert torch.equal(gradients[0][name], gradient), name


def test_prompts_may_be_added_while_tokenseek_is_applied() -> None:
    base = tiny_model("llama")
    with apply_tokenseek(base, CONFIG):
        found = step(tuned(base))
    assert_equal(found, both())
    assert base.config._attn_implementation == "sdpa"


def test_prompts_stay_where_tokenseek_is_taken_off() -> None:
    model = tuned(tiny_model("llama"))
    expected = step(model)
    with apply_tokenseek(model, CONFIG):
        step(model)
    assert_equal(step(model), expected)
    with apply_tokenseek(model, CONFIG):
        found = step(model)
    assert_equal(found, both())


def test_tokenseek_stays_where_prompts_are_taken_off() -> None:
    base = tiny_model("llama")
    model = tuned(base)
    with apply_tokenseek(model, CONFIG):
        step(model)
        assert model.unload() is base
        base.requires_grad_(True)
        found = step(base)
    assert_equal(found, plain(tiny_model("llama")))
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in base.modules())
    assert not any("forward" in vars(m) or "_call_impl" in vars(m) for m in base.modules())


def test_prompts_that_are_switched_off_leave_a_step_of_tokenseek_alone() -> None:
    model = tuned(tiny_model("llama"))
    with apply_tokenseek(model, CONFIG):
        with (
            model.disable_adapter(),
            pytest.raises(InputError, match="must have a parameter that requires grad"),
        ):
            step(model)  # peft freezes them, and nothing else is trained
        with model.disable_adapter():
            for name, parameter in model.named_parameters():
                parameter.requires_grad_("mept_" not in name)
            found = step(model)
    assert_equal(found, plain(tiny_model("llama")))


def test_a_step_has_the_prompts_of_the_adapter_that_was_chosen() -> None:
    model = tuned(tiny_model("llama"))
    with apply_tokenseek(model, CONFIG):
        model.add_adapter(
            "other",
            MeptConfig(num_virtual_tokens=5, top_k=2, init_std=1.0, router_init="orthogonal"),
        )
        model.set_adapter("other")
        loss, found = step(model)
        model.set_adapter("default")
        again = step(model)
    assert {name.rpartition(".")[2] for name in found} == {"other"}
    assert_equal(again, both())
    assert loss != again[0]


@pytest.mark.parametrize("inner", [True, False])
def test_a_second_handle_is_refused(inner: bool) -> None:
    model = tuned(tiny_model("llama"))
    with apply_tokenseek(model, CONFIG) as handle:
        with pytest.raises(InputError) as refused:
            apply_tokenseek(model.get_base_model() if inner else model, CONFIG)
        assert str(refused.value) == (
            "model (LlamaForCausalLM) must not have TokenSeek applied already; "
            "call handle.remove() first"
        )
        handle.remove()
        handle.remove()
        with apply_tokenseek(model, CONFIG):
            found = step(model)
    assert_equal(found, both())


def test_generation_has_the_prompts_and_knows_nothing_of_tokenseek() -> None:
    model = tuned(tiny_model("llama")).eval()
    ids = torch.randint(3, 61, (2, 6))
    expected = model.generate(input_ids=ids, max_new_tokens=5, do_sample=False)
    with apply_tokenseek(model, CONFIG):
        assert torch.equal(
            model.generate(input_ids=ids, max_new_tokens=5, do_sample=False), expected
        )


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_prompts_of_an_encoder_are_refused_with_a_sentence(family: str) -> None:
    model = tuned(tiny_model(family))
    text = "from no others, but does from 12 where 9 come to its blocks; take prompts off"
    with apply_tokenseek(model, CONFIG), pytest.raises(InputError, match=text):
        model(**tiny_batch(family))


def test_a_failed_step_leaves_nothing_behind() -> None:
    model = tuned(tiny_model("llama"))
    expected = step(model)
    layer = next(m for m in model.modules() if type(m).__name__ == "MeptLayer")

    def fail(*args: Any) -> None:
        raise RuntimeError("failed here")

    with apply_tokenseek(model, CONFIG):
        hook = layer.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="failed here"):
            step(model)
        hook.remove()
        found = step(model)
    assert_equal(found, both())
    assert_equal(step(model), expected)
    assert prompts_of(model)

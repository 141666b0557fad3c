"""Where prompts start."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from mept import MeptConfig
from mept._families import blocks_of, family_of, stack_of
from tiny import DECODERS, FAMILIES, ROTARY, TASKS, prompts_of, tiny_batch, tiny_model, tuned
from tiny_models import VOCABULARY

ROWS, EXPERTS = 3, 4  # of `tuned`


def hidden(family: str, **settings: Any) -> Any:
    return tuned(tiny_model(family), init="hidden", **settings)


def drawn(texts: int) -> Tensor:
    """The tokens that `tuned` draws, whose seed is 1."""
    torch.manual_seed(1)
    return torch.randint(VOCABULARY, (texts, ROWS))


def entering_blocks(family: str, tokens: Tensor) -> list[Tensor]:
    """What enters each block of the base model in evaluation, seen by hooks."""
    model = tiny_model(family).eval()
    seen: list[Tensor] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    stack = stack_of(model, family_of(model))
    for block in blocks_of(stack, family_of(model)):
        block.register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad():
        stack(input_ids=tokens)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shared_expert_starts_from_what_the_model_makes_of_a_text(family: str) -> None:
    prompts = prompts_of(hidden(family))
    states = entering_blocks(family, drawn(1))
    for layer, state in enumerate(states):
        torch.testing.assert_close(prompts[f"{layer}.shared"], state[0], atol=1e-6, rtol=1e-6)
        assert prompts[f"{layer}.experts"].std() > 0.5  # init_std is 1


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_without_a_shared_expert_each_expert_starts_from_a_text_of_its_own(family: str) -> None:
    prompts = prompts_of(hidden(family, shared_expert=False))
    for layer, state in enumerate(entering_blocks(family, drawn(EXPERTS))):
        torch.testing.assert_close(prompts[f"{layer}.experts"], state, atol=1e-6, rtol=1e-6)
    assert not any("shared" in name for name in prompts)


@pytest.mark.usefixtures("float64")
@pytest.mark.filterwarnings("ignore:sliding_window")  # the text leaves the window alike
@pytest.mark.parametrize("family", ROTARY)
def test_a_decoder_starts_as_if_the_text_stood_before_its_input(family: str) -> None:
    model = hidden(family).eval()
    for name, parameter in prompts_of(model).items():
        if "experts" in name:
            parameter.data.zero_()
    batch = tiny_batch(family)
    tokens = drawn(1).expand(len(batch["input_ids"]), -1)
    whole = torch.cat([tokens, batch["input_ids"]], dim=1)
    with torch.no_grad():
        found = model(input_ids=batch["input_ids"], routing_mask=batch["attention_mask"]).logits
        expected = tiny_model(family).eval()(input_ids=whole).logits[:, ROWS:]
    assert float((found - expected).abs().max()) < 1e-10


def switched_on(model: Any) -> None:
    pass


def switched_off(model: Any) -> None:
    model.base_model.disable_adapter_layers()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("switch", [switched_on, switched_off])
def test_a_second_adapter_starts_from_the_base_model(
    family: str, switch: Callable[[Any], None]
) -> None:
    model = tuned(tiny_model(family))
    switch(model)
    config = MeptConfig(task_type=TASKS[family], num_virtual_tokens=ROWS, init="hidden")
    torch.manual_seed(1)
    model.add_adapter("second", config)
    prompts = prompts_of(model, "second")
    for layer, state in enumerate(entering_blocks(family, drawn(1))):
        torch.testing.assert_close(prompts[f"{layer}.shared"], state[0], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("family", DECODERS)
def test_reading_hidden_states_leaves_the_model_as_it_was(family: str) -> None:
    base = tiny_model(family)
    base.eval()
    blocks = blocks_of(stack_of(base, family_of(base)), family_of(base))
    blocks[0].train()
    before = {name: module.training for name, module in base.named_modules()}
    weights = {name: value.clone() for name, value in base.state_dict().items()}
    model = tuned(base, init="hidden").unload()
    assert {name: module.training for name, module in model.named_modules()} == before
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_hidden_states_are_read_without_dropout() -> None:
    model = tiny_model("gpt2", embd_pdrop=0.5, resid_pdrop=0.5)
    prompts = prompts_of(tuned(model, init="hidden"))
    for layer, state in enumerate(entering_blocks("gpt2", drawn(1))):
        torch.testing.assert_close(prompts[f"{layer}.shared"], state[0], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("init", ["vocab", "hidden"])
@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_start_alike_where_accelerate_keeps_the_weights(family: str, init: str) -> None:
    expected = prompts_of(tuned(tiny_model(family), init=init))
    base = accelerate.cpu_offload(tiny_model(family), torch.device("cpu"))
    found = prompts_of(tuned(base, init=init))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("init", ["vocab", "hidden"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_shapes_alone_gets_prompts_of_shapes_alone(family: str, init: str) -> None:
    model = tiny_model(family)
    nn.Module.to(model, "meta")
    prompts = prompts_of(tuned(model, init=init))
    assert {parameter.device.type for parameter in prompts.values()} == {"meta"}


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_a_saved_adapter_is_loaded_without_running_the_model(
    tmp_path: Path, low_cpu_mem_usage: bool
) -> None:
    saved = hidden("llama")
    saved.save_pretrained(str(tmp_path))
    base = tiny_model("llama")
    runs: list[nn.Module] = []
    base.model.register_forward_hook(lambda module, *_: runs.append(module))
    loaded = PeftModel.from_pretrained(base, tmp_path, low_cpu_mem_usage=low_cpu_mem_usage)
    assert runs == []
    expected = prompts_of(saved)
    assert all(torch.equal(value, expected[name]) for name, value in prompts_of(loaded).items())


@pytest.mark.parametrize("init", ["vocab", "hidden"])
def test_a_model_whose_embeddings_require_gradients_can_be_copied(init: str) -> None:
    base = tiny_model("llama")
    base.enable_input_require_grads()
    model = tuned(base, init=init)
    copied = prompts_of(copy.deepcopy(model))
    assert all(torch.equal(copied[name], value) for name, value in prompts_of(model).items())


def test_layers_between_those_with_experts_are_run_as_well() -> None:
    prompts = prompts_of(hidden("llama", layers=[0, 2]))
    states = entering_blocks("llama", drawn(1))
    assert {name.partition(".")[0] for name in prompts} == {"0", "2"}
    torch.testing.assert_close(prompts["2.shared"], states[2][0], atol=1e-6, rtol=1e-6)


def test_a_half_precision_model_starts_prompts_in_float32() -> None:
    prompts = prompts_of(tuned(tiny_model("llama").bfloat16(), init="hidden"))
    assert {parameter.dtype for parameter in prompts.values()} == {torch.float32}

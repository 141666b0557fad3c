from __future__ import annotations

import copy
import inspect
import io
import pickle
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from exact import assert_reference, exact_model
from families import tiny_batch, tiny_model, with_lora
from slow_reference import gradients, relative_error
from taken import always, kept, take_step
from tokenseek_common import InputError
from tokenseek_core import apply_tokenseek


def fused_forward(
    self: Any, input_ids: Any = None, position_ids: Any = None, labels: Any = None, **kwargs: Any
) -> CausalLMOutputWithPast:
    """What Liger's do: with labels the loss alone, without them the logits."""
    outputs = self.model(input_ids=input_ids, position_ids=position_ids, **kwargs)
    hidden = outputs.last_hidden_state
    if labels is None:
        return CausalLMOutputWithPast(logits=self.lm_head(hidden))
    logits = self.lm_head(hidden)[:, :-1]
    return CausalLMOutputWithPast(loss=F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].ravel()))


@pytest.mark.parametrize("where", ["class", "instance"])
def test_a_fused_loss_below_tokenseek_gives_way_in_training(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    model = exact_model(monkeypatch)
    batch = tiny_batch("left")
    with monkeypatch.context() as fused:
        if where == "class":
            fused.setattr(LlamaForCausalLM, "forward", fused_forward)
        else:
            vars(model)["forward"] = types.MethodType(fused_forward, model)
        taken = take_step(model, batch, always())
        assert model(**batch).logits is None  # and comes back
    vars(model).pop("forward", None)
    assert_reference(taken, model, batch)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_a_fused_loss_put_over_tokenseek_is_refused(lora: bool) -> None:
    model = tiny_model("llama")
    outer = with_lora(model) if lora else model
    with apply_tokenseek(outer, always()):
        vars(model)["forward"] = types.MethodType(fused_forward, model)
        with pytest.raises(InputError) as error:
            outer(**tiny_batch())
    assert str(error.value) == (
        "forward (fused_forward) must not replace TokenSeek's, as Liger kernels and unwrapped "
        "models do; apply TokenSeek after that"
    )


@pytest.mark.parametrize("selector", ["tokenseek", "random"])
def test_a_forward_without_logits_is_refused(selector: str) -> None:
    def without_logits(self: Any, input_ids: Any = None, **kwargs: Any) -> CausalLMOutputWithPast:
        self.model(input_ids=input_ids, **kwargs)
        return CausalLMOutputWithPast()

    without_logits.__signature__ = inspect.signature(LlamaForCausalLM.forward)  # type: ignore[attr-defined]
    model = tiny_model("llama")
    vars(model)["forward"] = types.MethodType(without_logits, model)
    with apply_tokenseek(model, always(selector=selector)), pytest.raises(InputError) as error:
        model(**tiny_batch())
    assert str(error.value) == (
        "model (LlamaForCausalLM) must return logits where it is given no labels; "
        "take off what computes its loss without them"
    )


@pytest.fixture
def accelerator() -> Iterator[Accelerator]:
    AcceleratorState._reset_state(reset_partial_state=True)  # a Trainer leaves its own behind
    yield Accelerator(cpu=True, mixed_precision="bf16")
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("order", ["before", "after"])
def test_accelerate_may_prepare_the_model(accelerator: Accelerator, order: str) -> None:
    model, batch = tiny_model("llama").float(), tiny_batch("right")
    keep = take_step(model, batch, always()).keep
    config = always(selector=lambda signals: keep.float())
    with torch.autocast("cpu", torch.bfloat16):
        expected = take_step(model, batch, config)

    if order == "before":
        prepared = accelerator.prepare(model)
        handle = apply_tokenseek(prepared, config)
    else:
        handle = apply_tokenseek(model, config)
        prepared = accelerator.prepare(model)
    output = prepared(**batch)
    output.loss.backward()
    assert output.loss.item() == expected.loss
    found = gradients(model)
    assert all(torch.equal(gradient, found[n]) for n, gradient in expected.gradients.items())

    handle.remove()
    assert prepared(**batch).logits.shape == (3, 20, 61)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("order", ["before", "after"])
def test_unwrapping_that_takes_tokenseek_off_is_refused(
    accelerator: Accelerator, order: str
) -> None:
    model = tiny_model("llama").float()
    prepared = accelerator.prepare(model) if order == "before" else model
    with apply_tokenseek(prepared, always()):
        prepared = accelerator.prepare(model) if order == "after" else prepared
        assert accelerator.unwrap_model(prepared)(**tiny_batch()).loss.requires_grad
        bare = accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
        with pytest.raises(InputError, match=r"forward \(LlamaForCausalLM.forward\) must not"):
            bare(**tiny_batch())
    assert bare(**tiny_batch()).logits.shape == (3, 20, 61)


def test_hooks_of_a_device_map_stay_in_place() -> None:
    model, batch = tiny_model("llama"), tiny_batch("left")
    expected = take_step(model, batch, always())
    parameters = inspect.signature(model.forward).parameters
    add_hook_to_module(model, AlignDevicesHook(execution_device="cpu", io_same_device=True))
    with apply_tokenseek(model, always()):
        assert inspect.signature(model.forward).parameters == parameters
    taken = take_step(model, batch, always())
    assert taken.loss == expected.loss
    assert relative_error(taken.gradients, expected.gradients) == 0


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # of dynamo
@pytest.mark.parametrize("order", ["before", "after"])
def test_compiled_models_take_the_same_step(order: str) -> None:
    model, batch = tiny_model("llama"), tiny_batch("left")
    expected = take_step(model, batch, always())
    torch.compiler.reset()
    compiled: Any = model
    if order == "before":
        compiled = torch.compile(model, backend="aot_eager")
        compiled(**batch).loss.backward()
        gradients(model)
    with apply_tokenseek(compiled, always()) as handle:
        if order == "after":
            compiled = torch.compile(model, backend="aot_eager")
        for _ in range(2):
            loss = compiled(**batch).loss
            loss.backward()
            assert torch.equal(kept(handle, batch["labels"].shape), expected.keep)
            assert loss.item() == pytest.approx(expected.loss, rel=1e-12)
            assert relative_error(gradients(model), expected.gradients) < 1e-10
    torch.compiler.reset()


@pytest.mark.parametrize("by", ["Module.compile", "torch.compile"])
def test_parts_compiled_by_themselves_are_refused_when_applied_and_at_every_step(by: str) -> None:
    model = tiny_model("llama")
    layers = model.get_decoder().layers
    with apply_tokenseek(model, always()):
        if by == "Module.compile":
            layers[1].compile()
        else:
            layers[1] = torch.compile(layers[1])
        with pytest.raises(InputError) as at_step:
            model(**tiny_batch())
    with pytest.raises(InputError) as when_applied:
        apply_tokenseek(with_lora(model) if by == "Module.compile" else model)
    assert str(at_step.value) == str(when_applied.value).replace("base_model.model.", "")
    assert str(at_step.value) == (
        "model.layers.1 must not be compiled by itself, its steps have no fixed rows; compile the "
        "whole model, or leave it uncompiled"
    )


def test_other_wrappers_are_refused() -> None:
    with pytest.raises(InputError) as error:
        apply_tokenseek(nn.DataParallel(with_lora(tiny_model("llama"))))
    assert str(error.value) == (
        "model (DataParallel) must be a transformers model, also inside PEFT, "
        "DistributedDataParallel, torch.compile or Lightning's Fabric; pass that, and shard it by "
        "FSDP2"
    )


MARKS = [("ds_id", "DeepSpeed ZeRO-3"), ("_fsdp_flattened", "FullyShardedDataParallel")]


@pytest.mark.parametrize(("mark", "owner"), MARKS)
def test_parameters_taken_apart_are_refused_when_applied_and_at_every_step(
    mark: str, owner: str
) -> None:
    model = tiny_model("llama")
    with apply_tokenseek(model, always()):
        for number, parameter in enumerate(model.parameters()):
            setattr(parameter, mark, number)
        with pytest.raises(InputError) as at_step:
            model(**tiny_batch())
    with pytest.raises(InputError) as when_applied:
        apply_tokenseek(model)
    assert str(at_step.value) == str(when_applied.value)
    assert str(at_step.value) == (
        f"model (LlamaForCausalLM) must not be sharded by {owner}; shard it by FSDP2 "
        "(fully_shard), or its optimizer alone by ZeRO-2"
    )


def test_tensor_parallel_models_are_refused() -> None:
    """What from_pretrained(tp_plan="auto") leaves on a model in each of two processes."""
    model = tiny_model("llama")
    vars(model)["_tp_size"] = 2
    text = r"^tp_size \(2\) must be 1, processes with parts of a model would keep different tokens;"
    with pytest.raises(InputError, match=text):
        apply_tokenseek(model)


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, pickle.dumps, lambda model: torch.save(model, io.BytesIO())],
    ids=["deepcopy", "pickle", "torch.save"],
)
def test_copies_which_would_call_the_original_are_refused(
    duplicate: Callable[[PreTrainedModel], object],
) -> None:
    model = tiny_model("llama")
    with apply_tokenseek(model, always()) as handle:
        model(**tiny_batch())
        with pytest.raises(InputError) as error:
            duplicate(model)
    assert str(error.value) == (
        "model (LlamaForCausalLM) must not be copied or pickled with TokenSeek applied; call "
        "handle.remove() before, or save_pretrained"
    )
    assert handle.last is not None
    duplicate(model)


def test_a_saved_model_knows_nothing_of_tokenseek(tmp_path: Path) -> None:
    model = tiny_model("llama")
    names = set(model.state_dict())
    with apply_tokenseek(model, always()):
        assert set(model.state_dict()) == names
        model.save_pretrained(tmp_path)
    assert "tokenseek" not in "".join(path.read_text() for path in tmp_path.glob("*.json"))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).train()
    assert loaded.config._attn_implementation == "sdpa"
    saved = loaded.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


def test_what_others_change_in_the_config_outlasts_tokenseek() -> None:
    model = tiny_model("llama")
    shared = model.config
    with apply_tokenseek(model, always()):
        model.resize_token_embeddings(70, mean_resizing=False)
        model.config.use_cache = False
        assert shared.vocab_size == 61
    assert model.config is shared
    assert (shared.vocab_size, shared.use_cache) == (70, False)
    assert shared._attn_implementation == "sdpa"


def test_another_attention_while_tokenseek_is_applied_is_refused() -> None:
    model = tiny_model("llama")
    with apply_tokenseek(model, always()):
        model.set_attn_implementation("eager")
        with pytest.raises(InputError) as error:
            model(**tiny_batch())
    assert str(error.value) == (
        "attn_implementation (eager) must not change while TokenSeek is applied; call "
        "handle.remove(), change it, and apply TokenSeek again"
    )
    assert model.config._attn_implementation == "eager"


def test_evaluation_is_bit_equal_inside_every_wrapper(accelerator: Accelerator) -> None:
    def evaluate(model: nn.Module) -> Tensor:
        model.eval()
        with torch.no_grad():
            logits: Tensor = model(**tiny_batch("left")).logits
        model.train()
        return logits

    model = tiny_model("llama").float()
    outer = accelerator.prepare(with_lora(model).float())
    expected = evaluate(outer)
    with apply_tokenseek(model, always()):
        assert torch.equal(evaluate(outer), expected)

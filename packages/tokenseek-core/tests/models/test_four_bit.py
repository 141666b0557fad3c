from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from transformers import AutoModelForCausalLM

from planned import PLANS, small_llama
from tokenseek_core import TokenSeekConfig, apply_tokenseek
from tokenseek_core.models._adapters import AdapterKind, Adapters, with_adapters
from tokenseek_core.models._four_bit import quantize

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason='needs "tokenseek-core[qlora]"'
)


@needs_bitsandbytes
def test_a_quantised_model_is_the_one_that_transformers_quantises(tmp_path: Path) -> None:
    from transformers import BitsAndBytesConfig

    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(small_llama(), dtype=torch.bfloat16)
    plain.save_pretrained(tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path,
        dtype=torch.bfloat16,
        device_map={"": "cpu"},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
    )
    ours = quantize(plain)
    assert {name: type(module) for name, module in ours.named_modules()} == {
        name: type(module) for name, module in theirs.named_modules()
    }
    batch = torch.arange(64)[None]
    theirs.train()  # evaluating, some CPUs multiply by other kernels
    ours.train()
    with torch.no_grad():
        torch.testing.assert_close(ours(batch).logits, theirs(batch).logits, rtol=0, atol=0)


@needs_bitsandbytes
def test_fake_four_bit_layers_hold_the_bytes_of_real_ones() -> None:
    def held(model: nn.Module) -> list[int]:
        states = [vars(weight).get("quant_state") for weight in model.parameters()]
        scales = [(state.absmax, state.state2.absmax) for state in states if state is not None]
        return [p.nbytes for p in model.parameters()] + [t.nbytes for s in scales for t in s]

    plan = next(plan for plan in PLANS if plan.four_bit)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        vars(mode.fake_tensor_converter)["set_tensor_memo"] = lambda *_: None
        fake = held(plan.build(small_llama(), torch.bfloat16))
    assert fake == held(plan.build(small_llama(), torch.bfloat16))


@needs_bitsandbytes
def test_the_head_and_the_embeddings_are_not_quantised() -> None:
    model = quantize(AutoModelForCausalLM.from_config(small_llama(), dtype=torch.bfloat16))
    assert type(model.get_output_embeddings()) is nn.Linear
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16


@needs_bitsandbytes
def test_the_check_before_the_first_step_leaves_the_weights_as_they_are() -> None:
    """On CPUs with bfloat16 instructions, evaluation packs them for good."""
    torch.manual_seed(0)
    model = quantize(AutoModelForCausalLM.from_config(small_llama(), dtype=torch.bfloat16)).train()
    model.get_input_embeddings().requires_grad_(True)
    packed = {n: p.data.clone() for n, p in model.named_parameters() if p.dtype == torch.uint8}
    assert packed
    with apply_tokenseek(model, TokenSeekConfig()) as handle:
        ids = torch.arange(64)[None]
        model(input_ids=ids, labels=ids).loss.backward()
        assert handle.last is not None
    for name, before in packed.items():
        assert torch.equal(model.get_parameter(name).data, before), name


@needs_bitsandbytes
@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize(
    "config", [TokenSeekConfig(), TokenSeekConfig.answers()], ids=["sampled", "answers"]
)
def test_all_of_an_adapter_over_four_bits_moves_on_a_cpu(
    kind: AdapterKind, config: TokenSeekConfig
) -> None:
    torch.manual_seed(0)
    base = quantize(AutoModelForCausalLM.from_config(small_llama(), dtype=torch.bfloat16))
    model = with_adapters(base, "", Adapters(rank=4, kind=kind)).train()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = {name: parameter.detach().clone() for name, parameter in trained.items()}
    packed = {n: p.data.clone() for n, p in model.named_parameters() if p.dtype == torch.uint8}
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2, weight_decay=0)
    ids = torch.arange(64)[None]
    labels = ids.masked_fill(ids < 40, -100)
    losses, reached = [], set()
    with apply_tokenseek(model, config) as handle:
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(input_ids=ids, labels=labels).loss
            loss.backward()
            assert handle.last is not None
            losses.append(loss.item())
            reached |= {n for n, p in trained.items() if p.grad is not None and p.grad.any()}
            optimizer.step()
    assert losses[-1] < losses[0]
    assert reached == set(trained)
    assert not [name for name, value in before.items() if torch.equal(value, trained[name])]
    assert packed
    assert all(torch.equal(model.get_parameter(name).data, was) for name, was in packed.items())

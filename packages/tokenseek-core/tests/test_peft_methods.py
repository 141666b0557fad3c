from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exact import BOUND, assert_exact, exact_model
from families import tiny_batch, tiny_model, with_lora
from slow_reference import gradients, relative_error, slow_loss
from taken import always, kept
from tokenseek_common import InputError
from tokenseek_core import apply_tokenseek

VIRTUAL = 4
LANGUAGE: dict[str, Any] = {"task_type": "CAUSAL_LM"}


def wrapped(model: Any, config: peft.PeftConfig) -> Any:
    torch.manual_seed(0)
    return peft.get_peft_model(model, config).double().train()


def with_prompt(outer: Any, model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a model is given when virtual tokens are put before the others."""
    prompt = outer.get_prompt(batch_size=len(batch["labels"])).double()
    embeddings = model.get_input_embeddings()(batch["input_ids"])
    front = (VIRTUAL, 0)
    return {
        "inputs_embeds": torch.cat([prompt, embeddings], dim=1),
        "attention_mask": F.pad(batch["attention_mask"], front, value=1),
        "labels": F.pad(batch["labels"], front, value=-100),
    }


@pytest.mark.parametrize(
    "config",
    [
        peft.PromptTuningConfig(num_virtual_tokens=VIRTUAL, **LANGUAGE),
        peft.PromptEncoderConfig(num_virtual_tokens=VIRTUAL, encoder_hidden_size=16, **LANGUAGE),
    ],
    ids=["prompt tuning", "p-tuning"],
)
def test_virtual_tokens_count_as_tokens(
    monkeypatch: pytest.MonkeyPatch, config: peft.PeftConfig
) -> None:
    model = exact_model(monkeypatch)
    outer = wrapped(model, config)
    batch = tiny_batch("right")
    del batch["position_ids"]  # peft makes its own

    with apply_tokenseek(outer, always(0.5)) as handle:
        loss = outer(**batch).loss
        loss.backward()
        keep = kept(handle, torch.Size((3, 20 + VIRTUAL)))
    found = gradients(outer)

    assert keep[:, :VIRTUAL].any()
    reference = slow_loss(model, with_prompt(outer, model, batch), keep)
    reference.backward()
    assert loss.item() == pytest.approx(reference.item(), rel=BOUND)
    assert relative_error(found, gradients(outer)) < BOUND


@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(use_dora=True, target_modules=["q_proj", "down_proj"], **LANGUAGE),
        peft.LoraConfig(target_modules=["v_proj"], modules_to_save=["lm_head"], **LANGUAGE),
        peft.LoraConfig(target_modules=["v_proj"], trainable_token_indices=[5, 6, 7], **LANGUAGE),
        peft.IA3Config(target_modules=["k_proj", "v_proj"], feedforward_modules=[], **LANGUAGE),
        peft.LoHaConfig(
            r=4, target_modules=["q_proj", "down_proj"], init_weights=False, **LANGUAGE
        ),
        peft.LoKrConfig(
            r=2, target_modules=["q_proj", "down_proj"], init_weights=False, **LANGUAGE
        ),
        peft.OFTConfig(
            r=0,
            oft_block_size=8,
            target_modules=["q_proj", "down_proj"],
            init_weights=False,
            **LANGUAGE,
        ),
    ],
    ids=["dora", "saved head", "trainable tokens", "ia3", "loha", "lokr", "oft"],
)
def test_adapters_of_each_token_equal_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, config: peft.PeftConfig
) -> None:
    model = exact_model(monkeypatch)
    outer = wrapped(model, config)
    assert_exact(model, tiny_batch("left"), outer=outer)


def test_adapters_may_come_after_tokenseek(monkeypatch: pytest.MonkeyPatch) -> None:
    model = exact_model(monkeypatch)
    batch = tiny_batch("left")
    with apply_tokenseek(model, always()) as handle:
        outer = with_lora(model)
        loss = outer(**batch).loss
        loss.backward()
        keep = kept(handle, batch["labels"].shape)
    found = gradients(outer)
    reference = slow_loss(model, batch, keep)
    reference.backward()
    assert loss.item() == pytest.approx(reference.item(), rel=BOUND)
    assert relative_error(found, gradients(outer)) < BOUND


def test_a_merged_model_goes_on_with_tokenseek_and_is_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = exact_model(monkeypatch)
    outer = with_lora(model)
    batch = tiny_batch("left")
    with apply_tokenseek(outer, always()) as handle:
        outer(**batch).loss.backward()
        merged: Any = outer.merge_and_unload()  # type: ignore[operator]
        assert merged is model
        with pytest.raises(InputError, match="must have a parameter that requires grad"):
            merged(**batch)  # peft leaves it frozen
        merged.requires_grad_(True)
        gradients(merged)
        loss = merged(**batch).loss
        loss.backward()
        keep = kept(handle, batch["labels"].shape)
    found = gradients(model)
    reference = slow_loss(model, batch, keep)
    reference.backward()
    assert relative_error(found, gradients(model)) < BOUND
    assert model.config._attn_implementation == "sdpa"
    assert "forward" not in vars(model)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (peft.PrefixTuningConfig(num_virtual_tokens=VIRTUAL, **LANGUAGE), "PREFIX_TUNING"),
        (peft.AdaptionPromptConfig(adapter_len=4, adapter_layers=2, **LANGUAGE), "ADAPTION_PROMPT"),
        (
            peft.CPTConfig(
                cpt_token_ids=[3, 4], cpt_mask=[1, 1], cpt_tokens_type_mask=[1, 2], **LANGUAGE
            ),
            "CPT",
        ),
        (
            peft.LoraConfig(target_modules=["q_proj"], alora_invocation_tokens=[5], **LANGUAGE),
            "ALORA",
        ),
    ],
    ids=["prefix tuning", "adaption prompt", "cpt", "alora"],
)
def test_methods_that_do_more_than_adapt_each_token_are_refused(
    config: peft.PeftConfig, kind: str
) -> None:
    model = tiny_model("llama")
    with pytest.raises(InputError) as error:
        apply_tokenseek(wrapped(model, config))
    assert str(error.value) == (
        f"peft_type ({kind}) must adapt each token by itself and leave keys, values and loss to "
        "the model; use LoRA or prompt tuning"
    )
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            peft.LoraConfig(target_modules=["q_proj"], alora_invocation_tokens=[5], **LANGUAGE),
            r"peft_type \(ALORA\) must adapt each token by itself",
        ),
        (
            peft.PrefixTuningConfig(num_virtual_tokens=VIRTUAL, **LANGUAGE),
            "past_key_values must be unset in a TokenSeek step",
        ),
    ],
    ids=["alora", "prefix tuning"],
)
def test_such_methods_are_refused_after_tokenseek_too(config: peft.PeftConfig, text: str) -> None:
    model = tiny_model("llama")
    batch = tiny_batch()
    with apply_tokenseek(model, always()):
        outer: nn.Module = wrapped(model, config)
        with pytest.raises(InputError, match=text):
            outer(**batch)

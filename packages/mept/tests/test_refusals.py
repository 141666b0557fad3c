"""What cannot work is refused, in one sentence that says why and how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BartConfig,
    BartForCausalLM,
    BertConfig,
    BertLMHeadModel,
    DynamicCache,
    GenerationConfig,
    GPT2Config,
    GPT2DoubleHeadsModel,
    MambaConfig,
    StaticCache,
)

from mept import MeptConfig
from mept._families import positions_of
from tiny import tiny_batch, tiny_model, tuned
from tiny_models import tiny_config
from tokenseek_common import InputError


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as refused:
        call()
    return str(refused.value)


def ids(n: int = 4) -> torch.Tensor:
    return torch.arange(3, 3 + n)[None]


def filled(model: Any, n: int = 4) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    model(input_ids=ids(n), labels=ids(n), past_key_values=cache, use_cache=True)
    return cache


@pytest.fixture
def llama() -> Any:
    return tuned(tiny_model("llama")).eval()


def test_models_that_keep_a_state() -> None:
    mamba = AutoModelForCausalLM.from_config(MambaConfig(num_hidden_layers=1, hidden_size=8))
    assert refusal(lambda: get_peft_model(mamba, MeptConfig())) == (
        "model_type (mamba) must be one of llama, qwen2, qwen3, mistral, gemma2, gemma3_text, "
        "phi3, gpt_neox, gpt2, opt, t5, bart, bert, roberta: these are held to a slow reference, "
        "others are not, and in recurrent and state-space layers prompt rows would stay for good; "
        "use a model of these families"
    )


@pytest.mark.parametrize("family", ["modernbert", "qwen3_moe", "gemma3", "distilbert"])
def test_families_that_are_not_held_to_the_reference(family: str) -> None:
    model = AutoModel.from_config(tiny_config(family))
    assert refusal(lambda: get_peft_model(model, MeptConfig())).startswith(
        f"model_type ({family}) must be one of llama, qwen2, "
    )


def test_embeddings_that_are_projected() -> None:
    model = AutoModelForCausalLM.from_config(tiny_config("opt-projected"))
    assert refusal(lambda: get_peft_model(model, MeptConfig())) == (
        "word_embed_proj_dim (16) must be hidden_size (32), embeddings that are projected have no "
        "place for prompt rows; choose another model"
    )


def test_models_that_are_not_of_transformers() -> None:
    plain = nn.Sequential(nn.Linear(2, 2))
    assert refusal(lambda: get_peft_model(plain, MeptConfig())) == (
        "model (Sequential) must be a PreTrainedModel of transformers; load it by from_pretrained"
    )


def test_encoders_made_into_decoders() -> None:
    config = BertConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=1, is_decoder=True)
    bert = BertLMHeadModel(config)
    assert refusal(lambda: get_peft_model(bert, MeptConfig())) == (
        "is_decoder (True) must be False for bert, as an encoder; load the model without it"
    )


def test_half_of_an_encoder_decoder() -> None:
    sizes: dict[str, Any] = {"d_model": 8, "decoder_layers": 1, "decoder_attention_heads": 1}
    bart = BartForCausalLM(BartConfig(**sizes))
    assert refusal(lambda: get_peft_model(bart, MeptConfig())) == (
        "model (BartForCausalLM) must have an encoder, whose layers get the prompts; load the "
        "whole model"
    )


def test_layers_of_a_decoder_that_are_skipped_at_random() -> None:
    opt = tiny_model("opt", layerdrop=0.2)
    assert refusal(lambda: tuned(opt)) == (
        "layerdrop (0.2) must be 0, a skipped layer would leave its prompts out; set it in the "
        "model's config"
    )


def test_layers_that_are_skipped_at_random() -> None:
    bart = tiny_model("bart", encoder_layerdrop=0.1)
    assert refusal(lambda: tuned(bart)) == (
        "encoder_layerdrop (0.1) must be 0, a skipped layer would leave its prompts out; set it "
        "in the model's config"
    )


def test_layers_that_the_model_does_not_have() -> None:
    assert refusal(lambda: tuned(tiny_model("llama"), layers=[0, 2, 3, 9])) == (
        "layers ([3, 9]) must be from 0 to 2, the model has 3; leave them out"
    )


def test_names_of_layers_without_the_first() -> None:
    assert refusal(lambda: tuned(tiny_model("llama"), target_modules=["layers.1"])) == (
        "target_modules (['layers.1']) must contain model.layers.0, the first layer, whose rows "
        "the others carry on; add it"
    )


@pytest.mark.parametrize("family", ["gpt2", "bert", "roberta", "bart"])
def test_more_hidden_states_than_positions(family: str) -> None:
    model = tiny_model(family)
    most = positions_of(model.config)
    assert refusal(lambda: tuned(model, init="hidden", num_virtual_tokens=most + 1)) == (
        f"num_virtual_tokens ({most + 1}) must be at most {most}, the positions that the model "
        "has, where prompts start from hidden states; lower it, or choose another init"
    )
    tuned(model, init="hidden", num_virtual_tokens=most)  # nothing was changed


def test_static_caches(llama: Any) -> None:
    text = (
        "past_key_values (StaticCache) must grow with every token, a fixed size has no place for "
        "the prompt rows; use the default DynamicCache"
    )
    settings = {"cache_implementation": "static", "max_new_tokens": 4}
    cache = StaticCache(config=llama.config, max_cache_len=16)
    assert refusal(lambda: llama(input_ids=ids(), labels=ids(), past_key_values=cache)) == text
    assert refusal(lambda: llama.generate(input_ids=ids(), **settings)) == text


@pytest.mark.parametrize("family", ["llama", "t5", "bert"])
def test_masks_that_are_built_already(family: str) -> None:
    model, batch = tuned(tiny_model(family)), tiny_batch(family)
    batch["attention_mask"] = torch.ones(3, 1, 9, 9)
    assert refusal(lambda: model(**batch)) == (
        "attention_mask (4-D) must be 2-D, one value a token, so that prompt rows can be put in "
        "front; pass the mask of padding, or None"
    )


@pytest.mark.parametrize("shape", [(1, 4), (2, 3), (2, 5)])
def test_routing_masks_of_another_shape(llama: Any, shape: tuple[int, int]) -> None:
    call = {"input_ids": ids().expand(2, 4), "routing_mask": torch.ones(shape)}
    assert refusal(lambda: llama(**call)) == (
        f"routing_mask ({shape[0]} x {shape[1]}) must be 2 x 4, one value a token; give it the "
        "shape of input_ids"
    )


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bert"])
def test_tokens_and_embeddings_together_by_transformers_itself(family: str) -> None:
    model, batch = tuned(tiny_model(family)), tiny_batch(family)
    embeddings = model.get_input_embeddings()(batch["input_ids"])
    with pytest.raises(ValueError, match=r"specify|both"):
        model(**batch, inputs_embeds=embeddings)


def test_masks_by_kind_of_layer(llama: Any) -> None:
    mask = {"full_attention": torch.ones(1, 1, 4, 4)}
    assert refusal(lambda: llama(input_ids=ids(), labels=ids(), attention_mask=mask)) == (
        "attention_mask (dict) must be 2-D, one value a token, so that prompt rows can be put in "
        "front; pass the mask of padding, or None"
    )


def test_a_built_mask_beside_a_filled_cache(llama: Any) -> None:
    cache, mask = filled(llama), torch.ones(1, 1, 1, 5)
    call = {"input_ids": ids(1), "past_key_values": cache, "attention_mask": mask}
    assert refusal(lambda: llama(**call)) == (
        "attention_mask (4-D) must be 2-D, one value a token, so that prompt rows can be put in "
        "front; pass the mask of padding, or None"
    )


def test_a_cache_that_was_filled_without_prompts(llama: Any) -> None:
    with llama.disable_adapter():
        cache = filled(llama)
    assert refusal(lambda: llama(input_ids=ids(1), past_key_values=cache)) == (
        "past_key_values (4 rows, prompts of None) must have been filled with the prompts in use, "
        "those of default; start with an empty cache"
    )


def test_a_cache_with_prompts_that_are_switched_off(llama: Any) -> None:
    cache = filled(llama)
    with llama.disable_adapter():
        assert refusal(lambda: llama(input_ids=ids(1), past_key_values=cache)) == (
            "past_key_values (7 rows, prompts of default) must have been filled with the prompts "
            "in use, those of None; start with an empty cache"
        )


def test_a_cache_with_the_prompts_of_another_adapter(llama: Any) -> None:
    cache = filled(llama)
    llama.add_adapter("other", MeptConfig(num_virtual_tokens=3))
    llama.set_adapter("other")
    assert refusal(lambda: llama(input_ids=ids(1), past_key_values=cache)) == (
        "past_key_values (7 rows, prompts of default) must have been filled with the prompts in "
        "use, those of other; start with an empty cache"
    )


def test_several_tokens_behind_a_filled_cache(llama: Any) -> None:
    cache = filled(llama)
    assert refusal(lambda: llama(input_ids=ids(2), past_key_values=cache)) == (
        "input_ids (2 tokens) must be one token a step where a cache holds prompts, which were "
        "routed by what it was filled with; start with an empty cache"
    )


def test_assisted_generation(llama: Any) -> None:
    repeated = torch.tensor([[5, 6, 7, 5, 6]])
    settings = {"prompt_lookup_num_tokens": 2, "max_new_tokens": 8}
    text = refusal(lambda: llama.generate(input_ids=repeated, **settings))
    # How many candidates come first differs between versions of transformers.
    assert text.replace("(3", "(2") == (
        "input_ids (2 tokens) must be one token a step where a cache holds prompts, which were "
        "routed by what it was filled with; start with an empty cache"
    )


def test_filled_caches_in_generate(llama: Any) -> None:
    cache = filled(llama)
    assert refusal(lambda: llama.generate(input_ids=ids(6), past_key_values=cache)) == (
        "past_key_values (7 rows) must be empty, generate would take its prompt rows for tokens; "
        "pass all tokens and no cache"
    )


@pytest.mark.parametrize(
    "settings",
    [{"prefill_chunk_size": 2}, {"generation_config": GenerationConfig(prefill_chunk_size=2)}],
    ids=["setting", "config"],
)
def test_prompts_in_chunks(llama: Any, settings: dict[str, Any]) -> None:
    assert refusal(lambda: llama.generate(input_ids=ids(6), **settings)) == (
        "prefill_chunk_size (2) must be None, routers would see the first chunk alone; leave it out"
    )


@pytest.mark.parametrize("said", ["position_ids", "cu_seq_lens_q"])
def test_packed_sequences(llama: Any, said: str) -> None:
    positions = torch.tensor([[0, 1, 0, 1]])
    packed = positions if said == "position_ids" else torch.tensor([0, 2, 4])
    assert refusal(lambda: llama(input_ids=ids(), labels=ids(), **{said: packed})) == (
        "position_ids (packed sequences) must not begin again, a row is routed as one input; give "
        "each sequence a row of its own"
    )


def test_tokens_with_an_axis_too_many() -> None:
    base = GPT2DoubleHeadsModel(GPT2Config(n_embd=8, n_layer=1, n_head=1))
    model = get_peft_model(base, MeptConfig())
    choices = ids()[None].expand(1, 2, 4)
    assert refusal(lambda: model(input_ids=choices, labels=choices)) == (
        "input_ids (3-D) must be 2-D, one row an input; flatten them"
    )


@pytest.mark.parametrize("named", ["input_layernorm", "self_attn", "layers.0"])
def test_parts_of_a_block_among_the_modules_to_save(named: str) -> None:
    assert refusal(lambda: tuned(tiny_model("llama"), modules_to_save=[named])) == (
        f"modules_to_save ({named}) must not be a whole part of a layer that gets prompts; name "
        "modules inside it, such as mlp.down_proj, or outside the layers"
    )
    tuned(tiny_model("llama"), modules_to_save=["mlp.down_proj", "norm.q", "lm_head"])


def test_merging(llama: Any) -> None:
    text = (
        "model (LlamaForCausalLM) must not be merged, its weights have no place for rows that "
        "depend on the input; keep the adapter, or take it off by unload()"
    )
    assert refusal(llama.merge_and_unload) == text
    assert refusal(llama.merge_adapter) == text


def test_two_adapters_at_once(llama: Any) -> None:
    llama.add_adapter("other", MeptConfig())
    assert refusal(lambda: llama.base_model.set_adapter(["default", "other"])) == (
        "adapter_name (default, other) must be one adapter, there is one place for prompt rows; "
        "choose one"
    )


def test_a_refused_call_leaves_nothing_behind(llama: Any) -> None:
    expected = llama(input_ids=ids(), labels=ids()).logits
    refusal(lambda: llama(input_ids=ids(), routing_mask=ids(), attention_mask=ids()[None]))
    refusal(lambda: llama(input_ids=ids()))
    assert torch.equal(llama(input_ids=ids(), labels=ids()).logits, expected)

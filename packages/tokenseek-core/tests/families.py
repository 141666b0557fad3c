"""Tiny models of every supported family, from their configs, in float64 and without dropout."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import peft
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from tokenseek_core._families import FAMILIES as REGISTERED

VOCABULARY = 61

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_SIZES = _COMMON | {"intermediate_size": 48, "num_key_value_heads": 2}
# The grouped kernels have no float64.
_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "experts_implementation": "eager"}
_WINDOWS: dict[str, Any] = {
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "sliding_window": 7,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}


def config(family: str) -> PreTrainedConfig:
    """The config of a tiny model."""
    return _CONFIGS[family]()


def _gpt2() -> GPT2Config:
    return GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=3,
        n_head=4,
        n_positions=64,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def _opt(**settings: Any) -> OPTConfig:
    sizes = _COMMON | {"ffn_dim": 48, "word_embed_proj_dim": 32} | settings
    return OPTConfig(**sizes, dropout=0.0, attention_dropout=0.0)


def _gemma2() -> Gemma2Config:
    """Caps low enough to bend the logits of a tiny model."""
    caps = {"attn_logit_softcapping": 0.3, "final_logit_softcapping": 1.5}
    backend = {"attn_implementation": REGISTERED["gemma2"].attention}
    return Gemma2Config(**_SIZES | _WINDOWS | caps | backend)


def _qwen3_moe() -> Qwen3MoeConfig:
    """As many experts as blocks, and one block without experts."""
    experts = {"num_experts": 3, "moe_intermediate_size": 24, "mlp_only_layers": [1]}
    return Qwen3MoeConfig(**_SIZES | _EXPERTS | experts | {"head_dim": 8})


# Named by the model type; what follows a hyphen is a variant of it.
_CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_SIZES),
    "llama-tied": lambda: LlamaConfig(**_SIZES, tie_word_embeddings=True),
    "qwen2": lambda: Qwen2Config(**_SIZES),
    "qwen3": lambda: Qwen3Config(**_SIZES, head_dim=8),
    "qwen3_moe": _qwen3_moe,
    "mistral": lambda: MistralConfig(**_SIZES, sliding_window=7),
    "mixtral": lambda: MixtralConfig(**_SIZES | _EXPERTS | {"num_local_experts": 3}),
    "gemma": lambda: GemmaConfig(**_SIZES, head_dim=8),
    "gemma2": _gemma2,
    "gemma3_text": lambda: Gemma3TextConfig(**_SIZES | _WINDOWS),
    "phi3": lambda: Phi3Config(**_SIZES | {"partial_rotary_factor": 0.5}),
    "gpt2": _gpt2,
    "gpt_neox": lambda: GPTNeoXConfig(**_COMMON | {"intermediate_size": 48, "rotary_pct": 0.5}),
    "opt": _opt,
    "opt-projected": lambda: _opt(word_embed_proj_dim=16, do_layer_norm_before=False),
}

FAMILIES = list(_CONFIGS)

assert {name.partition("-")[0] for name in FAMILIES} == set(REGISTERED)


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A randomly initialised model in training mode."""
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config(family))
    for parameter in model.parameters():  # norms and biases too, so that every gradient is general
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.double().train()
    return model


def tiny_batch(padding: str = "none", seed: int = 1) -> dict[str, Tensor]:
    """Three instances of 20 tokens, their first five unsupervised; padded ones are shorter."""
    torch.manual_seed(seed)
    b, s = 3, 20
    lengths = [20, 20, 20] if padding == "none" else [20, 13, 7]
    input_ids = torch.randint(3, VOCABULARY, (b, s))
    mask = torch.zeros((b, s), dtype=torch.long)
    labels = torch.full((b, s), -100)
    position_ids = torch.zeros((b, s), dtype=torch.long)
    for row, length in enumerate(lengths):
        span = slice(s - length, s) if padding == "left" else slice(0, length)
        mask[row, span] = 1
        position_ids[row, span] = torch.arange(length)
        labels[row, span] = input_ids[row, span]
        labels[row, span.start : span.start + 5] = -100
    input_ids[mask == 0] = 0
    batch = {"input_ids": input_ids, "labels": labels}
    if padding != "none":
        batch |= {"attention_mask": mask, "position_ids": position_ids}
    return batch


def with_lora(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with adapters on every linear layer, not at their zero starting point."""
    torch.manual_seed(seed)
    lora = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    with warnings.catch_warnings():
        # peft remarks on what it changes in that config for GPT-2's and the experts' weights.
        warnings.simplefilter("ignore")
        wrapped: nn.Module = peft.get_peft_model(model, lora).double()
    return wrapped


def checkpointed(model: PreTrainedModel, enable: bool = True) -> PreTrainedModel:
    """Switch gradient checkpointing by the name that this version of transformers gives it."""
    verb = "enable" if enable else "disable"
    current = getattr(model, f"activation_checkpointing_{verb}", None)
    (current or getattr(model, f"gradient_checkpointing_{verb}"))()
    return model

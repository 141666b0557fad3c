"""Tiny models of every supported family, from their configs, in float64 and without dropout."""

from __future__ import annotations

from typing import Any

import peft
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

VOCABULARY = 61

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def config(family: str) -> PreTrainedConfig:
    """The config of a tiny model."""
    match family:
        case "llama":
            return LlamaConfig(**_SIZES)
        case "llama-tied":
            return LlamaConfig(**_SIZES, tie_word_embeddings=True)
        case "qwen2":
            return Qwen2Config(**_SIZES)
        case "qwen3":
            return Qwen3Config(**_SIZES, head_dim=8)
        case "mistral":
            return MistralConfig(**_SIZES, sliding_window=7)
        case "gpt2":
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
    raise KeyError(family)


FAMILIES = ["llama", "llama-tied", "qwen2", "qwen3", "mistral", "gpt2"]


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
    wrapped: nn.Module = peft.get_peft_model(model, lora).double()
    return wrapped


def checkpointed(model: PreTrainedModel, enable: bool = True) -> PreTrainedModel:
    """Switch gradient checkpointing by the name that this version of transformers gives it."""
    verb = "enable" if enable else "disable"
    current = getattr(model, f"activation_checkpointing_{verb}", None)
    (current or getattr(model, f"gradient_checkpointing_{verb}"))()
    return model

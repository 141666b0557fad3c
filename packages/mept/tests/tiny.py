"""Tiny models of every family, from their configs, in float64 and without dropout, and inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from peft import get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BartConfig,
    BertConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    T5Config,
)

from mept import MeptConfig

VOCABULARY = 61

_SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_COMMON: dict[str, Any] = _SPECIAL | {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
_GROUPED: dict[str, Any] = _COMMON | {"num_key_value_heads": 2}
_NO_DROPOUT: dict[str, Any] = {
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "classifier_dropout": 0.0,
    "num_labels": 3,
}


def _gemma3() -> Gemma3TextConfig:
    return Gemma3TextConfig(
        **_GROUPED,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=7,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )


def _gpt2() -> GPT2Config:
    return GPT2Config(
        **_SPECIAL,
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=3,
        n_head=4,
        n_positions=64,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )


def _t5() -> T5Config:
    return T5Config(
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=3,
        num_decoder_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,  # type: ignore[call-arg]
    )


def _bart() -> BartConfig:
    return BartConfig(
        **_SPECIAL,
        vocab_size=VOCABULARY,
        d_model=32,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=64,
        dropout=0.0,
        scale_embedding=True,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )


_CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_GROUPED),
    "qwen2": lambda: Qwen2Config(**_GROUPED),
    "qwen3": lambda: Qwen3Config(**_GROUPED, head_dim=8),
    "mistral": lambda: MistralConfig(**_GROUPED, sliding_window=7),
    "gemma3_text": _gemma3,
    "gpt2": _gpt2,
    "t5": _t5,
    "bart": _bart,
    "bert": lambda: BertConfig(**_COMMON | _NO_DROPOUT),
    "roberta": lambda: RobertaConfig(**_COMMON | _NO_DROPOUT | {"type_vocab_size": 2}),
}

DECODERS = ("llama", "qwen2", "qwen3", "mistral", "gemma3_text", "gpt2")
SEQ2SEQ = ("t5", "bart")
ENCODERS = ("bert", "roberta")
FAMILIES = DECODERS + SEQ2SEQ + ENCODERS

TASKS = (
    dict.fromkeys(DECODERS, "CAUSAL_LM")
    | dict.fromkeys(SEQ2SEQ, "SEQ_2_SEQ_LM")
    | dict.fromkeys(ENCODERS, "TOKEN_CLS")
)
_HEADS: dict[str, Any] = {
    "CAUSAL_LM": AutoModelForCausalLM,
    "SEQ_2_SEQ_LM": AutoModelForSeq2SeqLM,
    "SEQ_CLS": AutoModelForSequenceClassification,
    "TOKEN_CLS": AutoModelForTokenClassification,
}


def tiny_config(family: str, **settings: Any) -> PreTrainedConfig:
    """The config of a tiny model."""
    config = _CONFIGS[family]()
    for name, value in settings.items():
        setattr(config, name, value)
    return config


def tiny_model(family: str, task: str | None = None, **settings: Any) -> PreTrainedModel:
    """A randomly initialised model in training mode, always with the same weights."""
    torch.manual_seed(0)
    model = _HEADS[task or TASKS[family]].from_config(tiny_config(family, **settings))
    for parameter in model.parameters():  # norms and biases too, so that every gradient is general
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return cast(PreTrainedModel, model.double().train())


def tuned(model: PreTrainedModel, task: str | None = None, **settings: Any) -> Any:
    """The model with prompts, large enough to be seen, in peft's wrapper."""
    torch.manual_seed(1)
    chosen: dict[str, Any] = {
        "num_virtual_tokens": 3,
        "num_experts": 4,
        "top_k": 2,
        "init_std": 1.0,
    }
    task = task or TASKS[model.config.model_type]
    return get_peft_model(model, MeptConfig(task_type=task, **chosen | settings))


def prompts_of(model: nn.Module, adapter: str = "default") -> dict[str, Tensor]:
    """The trainable tensors of the prompts, by layer and kind: `0.router`, `0.experts`, ..."""
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        path, _, kind = name.removesuffix(f".{adapter}").rpartition(".mept_")
        if kind and name.endswith(f".{adapter}"):
            found[f"{path.rpartition('.')[2]}.{kind}"] = parameter
    return found


def tiny_batch(family: str, padding: str = "right", seed: int = 1) -> dict[str, Tensor]:
    """Three inputs of 9, 6 and 4 tokens, with targets, padded on one side."""
    torch.manual_seed(seed)
    lengths, n = (9, 6, 4), 9
    ids = torch.randint(3, VOCABULARY, (3, n))
    mask, positions = torch.zeros(3, n, dtype=torch.long), torch.zeros(3, n, dtype=torch.long)
    for row, length in enumerate(lengths):
        span = slice(n - length, n) if padding == "left" else slice(0, length)
        mask[row, span] = 1
        positions[row, span] = torch.arange(length)
    ids[mask == 0] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    if family in DECODERS:
        labels = ids.masked_fill(mask == 0, -100)
        for row in range(3):
            labels[row, int(mask[row].argmax()) :][:2] = -100  # two tokens of prompt
        return batch | {"labels": labels, "position_ids": positions}
    if family in SEQ2SEQ:
        labels = torch.randint(3, VOCABULARY, (3, 5))
        labels[1, 3:] = -100
        return batch | {"labels": labels}
    labels = (ids % 3).masked_fill(mask == 0, -100)
    batch |= {"labels": labels, "token_type_ids": (ids % 2) * mask}
    return batch | {"position_ids": positions} if family == "bert" else batch


def checkpointed(model: Any, **settings: Any) -> None:
    """Switch gradient checkpointing on, by the name that this version of transformers gives it."""
    base = model.get_base_model()
    for name in ("activation", "gradient"):
        enable = getattr(base, f"{name}_checkpointing_enable", None)
        if enable is not None:
            enable(**{f"{name}_checkpointing_kwargs": settings})
            return

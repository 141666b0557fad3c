"""Tiny models of the families that the tests go through, with and without prompts, and inputs."""

from __future__ import annotations

from typing import Any

import torch
from peft import get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from mept import MeptConfig
from tiny_models import VOCABULARY, random_model, tiny_config

ROTARY = ("llama", "qwen2", "qwen3", "mistral", "gemma3_text", "gemma2", "phi3", "gpt_neox")
DECODERS = (*ROTARY, "gpt2", "opt")
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


def tiny_model(family: str, task: str | None = None, **settings: Any) -> PreTrainedModel:
    """A randomly initialised model in training mode, always with the same weights."""
    return random_model(_HEADS[task or TASKS[family]], tiny_config(family, **settings))


def tuned(model: PreTrainedModel, task: str | None = None, **settings: Any) -> Any:
    """The model with prompts, large enough to be seen, in peft's wrapper."""
    torch.default_generator.manual_seed(1)
    chosen: dict[str, Any] = {
        "num_virtual_tokens": 3,
        "num_experts": 4,
        "top_k": 2,
        "init_std": 1.0,
        "router_init": "orthogonal",
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
    torch.default_generator.manual_seed(seed)
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

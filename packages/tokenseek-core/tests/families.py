"""The families that the tests go through, their tiny models, and inputs."""

from __future__ import annotations

import warnings

import peft
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

import tiny_models
from tiny_models import VOCABULARY, random_model, tiny_config
from tokenseek_common.data import Example, pack_batch
from tokenseek_core._families import FAMILIES as REGISTERED

SEVERAL = ("gemma3", "llava", "qwen2_vl")
"""Text decoders with a tower for pictures."""

SEQ2SEQ = ("bart", "t5", "whisper")
"""A decoder behind an encoder."""

LAST = {name for name, family in REGISTERED.items() if family.reads == "last"}
DECODERS = LAST - {*SEVERAL} - {*SEQ2SEQ}

# What follows a hyphen is a variant of the model type before it.
FAMILIES = [name for name in tiny_models.FAMILIES if name.partition("-")[0] in DECODERS]

assert {name.partition("-")[0] for name in FAMILIES} == DECODERS


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A randomly initialised model in training mode."""
    return random_model(AutoModelForCausalLM, tiny_config(family), seed)


def tiny_batch(padding: str = "none", seed: int = 1) -> dict[str, Tensor]:
    """Three instances of 20 tokens, their first five unsupervised; padded ones are shorter."""
    torch.default_generator.manual_seed(seed)
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


PACKED = [12, 10, 8]


def packed_batch() -> dict[str, Tensor]:
    """Three sequences in one row."""
    torch.manual_seed(1)
    rows = [torch.randint(3, VOCABULARY, (length,)).tolist() for length in PACKED]
    return pack_batch([Example(row, row) for row in rows])


def with_lora(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with adapters on every linear layer, not at their zero starting point."""
    torch.default_generator.manual_seed(seed)
    lora = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    with warnings.catch_warnings():
        # peft remarks on what it changes in that config for GPT-2's and the experts' weights.
        warnings.simplefilter("ignore")
        wrapped: nn.Module = peft.get_peft_model(model, lora).double()
    return wrapped

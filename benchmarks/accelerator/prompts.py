"""Mixture of expert prompt tuning on the device, against the CPU."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from accelerator.devices import device
from accelerator.exactness import TOLERANCE, deviation, judged
from peft import get_peft_model
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from mept import MeptConfig
from tiny_models import VOCABULARY, random_model, tiny_config

HEADS: dict[str, tuple[str, Any]] = {
    "llama": ("CAUSAL_LM", AutoModelForCausalLM),
    "t5": ("SEQ_2_SEQ_LM", AutoModelForSeq2SeqLM),
    "bert": ("SEQ_CLS", AutoModelForSequenceClassification),
}


def prompt_gradients(*, family: str) -> dict[str, Any]:
    """Loss and gradients of a tiny model with prompts in float64, as shares of the CPU's."""
    task, head = HEADS[family]
    config = MeptConfig(
        task_type=task, num_virtual_tokens=3, top_k=2, init_std=1.0, router_init="orthogonal"
    )
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 by an old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        model = get_peft_model(random_model(head, tiny_config(family)), config).double()
    there = copy.deepcopy(model).to(device())
    batch = padded_batch(task)
    expected_loss, expected = trained(model, batch)
    loss, found = trained(there, {name: value.to(device()) for name, value in batch.items()})
    figures = {
        "loss": abs(loss / expected_loss - 1),
        "gradients": deviation(found, expected),
    }
    return judged(figures, largest=max(figures.values()), tolerance=TOLERANCE)


def padded_batch(task: str) -> dict[str, Tensor]:
    """Two inputs of 12 and 8 tokens, and their targets."""
    torch.manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (2, 12))
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    labels = torch.tensor([0, 2]) if task == "SEQ_CLS" else ids.masked_fill(mask == 0, -100)
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}


def trained(model: Any, batch: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    """The loss of a step and its gradients."""
    loss = model(**batch).loss
    loss.backward()
    return loss.item(), {
        name: parameter.grad.cpu()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }

"""What prompts and TokenSeek save together, by the one profiler of all packages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from mept import MeptConfig
from tokenseek_common.memory import ledger
from tokenseek_core import TokenSeekConfig, apply_tokenseek

torch.set_num_threads(1)


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=16,
    )
    model = LlamaForCausalLM(config)
    model.train()
    return model


def prompted() -> Any:
    return get_peft_model(
        llama(), MeptConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, router_init="orthogonal")
    )


def working(model: Any) -> int:
    """Bytes of a step beside parameters, gradients and the optimizer's state."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    ids = torch.randint(3, 512, (2, 128))
    labels = ids.masked_fill(torch.arange(128) < 64, -100)
    for _ in range(2):
        with ledger(model, optimizer) as reading:
            model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert reading.report.working is not None
    return reading.report.working


def test_prompts_under_tokenseek_need_less_than_either_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", 64 * 4 * 512)  # as for a large model
    prompts = working(prompted())
    with apply_tokenseek(model := llama(), TokenSeekConfig(ratio=0.1)):
        sought = working(model)
    with apply_tokenseek(both := prompted(), TokenSeekConfig(ratio=0.1)):
        together = working(both)
    assert together < 0.5 * prompts  # 4.00 of 9.50 MB
    assert together < 0.95 * sought  # 4.00 of 4.36 MB

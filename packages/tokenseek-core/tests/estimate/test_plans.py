from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedConfig

from planned import KINDS, OTHERWISE, PLANS, small_llama
from tiny_models import tiny_config
from tokenseek_common.memory import MemoryReport, ledger
from tokenseek_core.estimate._plans import Plan, ids, loss


def named(plan: Plan) -> str:
    return plan.name


def measured(plan: Plan, config: PreTrainedConfig, batch: torch.Tensor) -> MemoryReport:
    """The ledger of a real step."""
    model = plan.build(config, torch.bfloat16)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, fused=True)
    for _ in range(2):
        with ledger(model, optimizer) as reading:
            loss(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
    return reading.report


def agree(plan: Plan, config: PreTrainedConfig, batch_size: int, length: int) -> None:
    estimated = plan.estimator(config, torch.bfloat16)(ids(batch_size, length))
    torch.manual_seed(0)
    batch = torch.randint(3, config.vocab_size, (batch_size, length))
    real = measured(plan, config, batch)
    assert estimated.peak == pytest.approx(real.peak, rel=0.03)
    assert estimated.working == pytest.approx(real.working, rel=0.03)
    for kind in KINDS:
        assert estimated.kinds[kind] == pytest.approx(real.kinds[kind], abs=0.03 * real.peak)


@pytest.mark.parametrize("plan", PLANS, ids=named)
def test_the_estimate_is_within_three_per_cent_of_the_ledger_of_a_real_step(plan: Plan) -> None:
    agree(plan, small_llama(), batch_size=2, length=96)


@pytest.mark.parametrize("plan", OTHERWISE[-6:], ids=named)
def test_so_it_is_with_other_settings(plan: Plan) -> None:
    agree(plan, small_llama(), batch_size=1, length=128)


@pytest.mark.parametrize("family", ["qwen2", "mistral", "gpt2"])
def test_estimates_of_other_families_agree_too(family: str) -> None:
    for plan in PLANS:
        if plan.method.config is not None and not plan.method.checkpointing:
            agree(plan, tiny_config(family), batch_size=2, length=48)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "TokenSeek", "LoRA + TokenSeek + checkpointing"])
def test_the_estimate_of_a_model_of_the_size_of_smollm2_agrees(name: str) -> None:
    config = small_llama(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
    )
    (plan,) = (plan for plan in PLANS if plan.name == name)
    agree(plan, config, batch_size=1, length=256)

from __future__ import annotations

import gc
import sys

import pytest
import torch
from transformers import PreTrainedConfig

from planned import BEHIND_PROMPTS, KINDS, OTHERWISE, PLANS, small_llama
from tiny_models import tiny_config
from tokenseek_common.memory import MemoryReport, ledger, measure
from tokenseek_core.estimate._plans import Plan, ids


def named(plan: Plan) -> str:
    return plan.name


def measured(
    plan: Plan, config: PreTrainedConfig, batch: torch.Tensor, dtype: torch.dtype
) -> MemoryReport:
    """The ledger of a real second step."""
    model = plan.build(config, dtype)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, fused=True)

    def step() -> None:
        plan.loss(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    with ledger(model, optimizer) as reading:
        step()
    return reading.report


def agree(
    plan: Plan,
    config: PreTrainedConfig,
    batch_size: int,
    length: int,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    estimated = plan.estimator(config, dtype)(ids(batch_size, length))
    torch.manual_seed(0)
    batch = torch.randint(3, config.vocab_size, (batch_size, length))
    real = measured(plan, config, batch, dtype)
    assert estimated.peak == pytest.approx(real.peak, rel=0.03)
    assert estimated.working == pytest.approx(real.working, rel=0.03)
    for kind in KINDS:
        assert estimated.kinds[kind] == pytest.approx(real.kinds[kind], abs=0.03 * real.peak)


@pytest.mark.parametrize("plan", PLANS, ids=named)
def test_the_estimate_is_within_three_per_cent_of_the_ledger_of_a_real_step(plan: Plan) -> None:
    agree(plan, small_llama(), batch_size=2, length=96)


@pytest.mark.parametrize("plan", OTHERWISE[-7:], ids=named)
def test_so_it_is_with_other_settings(plan: Plan) -> None:
    agree(plan, small_llama(), batch_size=1, length=128)


@pytest.mark.parametrize("plan", [*BEHIND_PROMPTS[2:5], BEHIND_PROMPTS[-1]], ids=named)
def test_so_it_is_where_few_tokens_carry_the_loss(plan: Plan) -> None:
    agree(plan, small_llama(), batch_size=2, length=128)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2", "mistral", "gpt2"])
def test_estimates_of_other_families_agree_too(family: str) -> None:
    for plan in PLANS:
        if plan.method.config is not None and not plan.method.checkpointing:
            agree(plan, tiny_config(family), batch_size=2, length=48)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "TokenSeek", "LoRA + TokenSeek + checkpointing"])
def test_the_estimate_of_a_model_as_wide_as_smollm2_agrees(name: str) -> None:
    config = small_llama(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=10,  # of 30: each is like the others
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
    )
    (plan,) = (plan for plan in PLANS if plan.name == name)
    # half precision takes ten times as long on processors without instructions for it
    agree(plan, config, batch_size=1, length=256, dtype=torch.float32)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's high-water mark")
@pytest.mark.parametrize("name", ["dense", "LoRA + TokenSeek + checkpointing"])
def test_an_estimate_of_eight_billion_weights_adds_little_to_what_the_host_holds(name: str) -> None:
    config = small_llama(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=131072,
        tie_word_embeddings=False,
    )
    (plan,) = (plan for plan in PLANS if plan.name == name)
    plan.estimator(small_llama(), torch.bfloat16)(ids(1, 64))  # imports what estimates need
    gc.collect()
    with measure("cpu") as reading:
        estimated = plan.estimator(config, torch.bfloat16)(ids(1, 2048))
    assert estimated.kinds["parameters"] >= 8_030_261_248 * 2
    assert reading.report.added < 2**27

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from taken import always
from tiny_models import checkpointed
from tokenseek_common.memory import ledger, saved_for_backward
from tokenseek_core import apply_tokenseek

B, S, LAYERS, D_KV = 2, 128, 4, 32


@pytest.fixture
def model() -> PreTrainedModel:
    """Heads 8/2 of 16, so that repeated keys and values would show."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=D_KV // 2,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    model.train()
    return model


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 512, (B, S))
    return {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}


def saved(model: PreTrainedModel) -> int:
    with saved_for_backward(model) as reading:
        loss = model(**batch(), use_cache=False).loss
    assert loss.requires_grad
    return reading.report.live


def test_saved_bytes_are_the_ratio_of_dense_plus_keys_and_values_plus_one_mask(
    model: PreTrainedModel,
) -> None:
    ratio, groups = 0.25, 4
    dense = saved(model)
    with apply_tokenseek(model, always(ratio=ratio, selector="random")):
        kept = saved(model)
    keys_and_values = LAYERS * 2 * B * S * D_KV * 4
    mask = B * groups * int(ratio * S) * S * 4
    assert kept < 1.05 * (ratio * dense + keys_and_values + mask)


def test_recorded_bytes_are_those_of_keys_and_values(model: PreTrainedModel) -> None:
    with apply_tokenseek(model, always(selector="random")) as handle:
        model(**batch())
    assert handle.last is not None
    assert handle.last.kept_bytes == LAYERS * 2 * B * S * D_KV * 4


@pytest.mark.parametrize("selector", ["tokenseek", "random"])
def test_the_whole_step_needs_less_than_dense_and_checkpointing_less_again(
    monkeypatch: pytest.MonkeyPatch, model: PreTrainedModel, selector: str
) -> None:
    monkeypatch.setattr("tokenseek_core._chunks.MOST_ON_HOST", 64 * 4 * 512)  # as for a large model
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def working() -> int:
        for _ in range(2):
            with ledger(model, optimizer) as reading:
                model(**batch(), use_cache=False).loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        assert reading.report.working is not None
        return reading.report.working

    dense = working()
    with apply_tokenseek(model, always(ratio=0.1, selector=selector)):
        ours = working()
        checkpointed(model)
        both = working()
    assert ours < 0.35 * dense
    assert both <= 1.05 * ours

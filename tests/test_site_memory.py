"""The page about memory shows the records, and counts as the forecast does."""

from __future__ import annotations

import json
import runpy
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from tokenseek_core import TokenSeekConfig
from tokenseek_core.estimate import Adapters, plans
from tokenseek_core.estimate._plans import ids
from workspace import ROOT

TOKENS, RANK = 384, 8
SHAPES: list[dict[str, Any]] = [
    {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16},
    {"hidden_size": 96, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 32},
]


@pytest.fixture
def layers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/tokenseek_core")
    return runpy.run_path(str(ROOT / "benchmarks/tokenseek_core/layers.py"))


def arithmetic(config: LlamaConfig) -> dict[str, int]:
    """Bytes that a token leaves in a block, as the page counts them."""
    d, f = config.hidden_size, config.intermediate_size
    n_h, d_h = config.num_attention_heads, config.head_dim or 0
    n_kv = config.num_key_value_heads or n_h
    dense = 2 * (8 * d + 4) + 2 * d_h * (n_h + 2 * n_kv) + 2 * n_h * d_h + 4 * n_h + 8 * f
    return {"dense": dense, "LoRA": dense - 4 * d + 14 * RANK, "LoRA + checkpointing": 2 * d}


def forecast(config: LlamaConfig) -> dict[str, float]:
    """The same by the estimate: of three blocks less that of one."""
    chosen = {each.name: each for each in plans(TokenSeekConfig(), Adapters(RANK, float32=False))}
    found = {}
    for name in arithmetic(config):
        held = []
        for blocks in (3, 1):
            config.num_hidden_layers = blocks
            memory = chosen[name].estimator(config, torch.bfloat16)(ids(1, TOKENS))
            held.append(memory.kinds["activations"])
        found[name] = (held[0] - held[1]) / (2 * TOKENS)
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=["grouped", "wide-heads"])
def test_what_a_block_keeps_of_a_token_is_what_the_page_counts(shape: dict[str, Any]) -> None:
    config = LlamaConfig(vocab_size=512, intermediate_size=160, **shape)
    assert forecast(config) == arithmetic(config)


def test_the_page_shows_the_records_and_counts_them(layers: dict[str, Any]) -> None:
    text = layers["PAGE"].read_text(encoding="utf-8")
    assert text == layers["with_tables"](text)
    record = json.loads(layers["RESULT"].read_text(encoding="utf-8"))
    counted = arithmetic(layers["llama"]())
    for name, size in counted.items():
        held = layers["per_layer"](record["steps"][name])["activations_bytes"]
        assert held / record["batch"][1] == size
        assert f"{size:,}" in text

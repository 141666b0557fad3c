from __future__ import annotations

from typing import Any

import pytest
from transformers import Qwen3MoeConfig

from families import FAMILIES
from planned import small_llama
from tiny_models import tiny_config
from tokenseek_core import TokenSeekConfig
from tokenseek_core._instances import Instance
from tokenseek_core.inspect import Method
from tokenseek_core.inspect._operations import Sizes, step_operations


def test_sizes_are_read_from_a_config() -> None:
    config = small_llama(num_hidden_layers=3, tie_word_embeddings=False)
    d, ff, d_kv = 128, 320, 64
    block = 2 * d * d + 2 * d * d_kv + 3 * d * ff
    assert Sizes.of(config) == Sizes(3, block, width=d, head_weights=512 * d)


def test_of_experts_those_count_that_a_token_passes() -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "moe_intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 64,
        "num_experts": 8,
    }
    one, three = (
        Sizes.of(Qwen3MoeConfig(**sizes, num_experts_per_tok=count)).block_weights
        for count in (1, 3)
    )
    assert three - one == 2 * 3 * 32 * 24


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_of_every_family_are_found(family: str) -> None:
    sizes = Sizes.of(tiny_config(family))
    assert min(sizes.layers, sizes.block_weights, sizes.width, sizes.head_weights) > 0


def test_a_step_that_would_be_dense_counts_as_one() -> None:
    sizes, instance = Sizes(4, 1000, 8, 500), Instance(64, 64)
    everything = Method("all", TokenSeekConfig(ratio=0.9))
    dense = step_operations(sizes, instance, Method("dense"))
    assert step_operations(sizes, instance, everything) == dense
    assert step_operations(sizes, instance, Method("a tenth", TokenSeekConfig())) < dense

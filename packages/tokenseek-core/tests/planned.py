"""The ways to fine-tune that estimates are tried on, and the config that they are tried with."""

from __future__ import annotations

from typing import Any

from transformers import LlamaConfig

from tokenseek_core import TokenSeekConfig
from tokenseek_core.estimate import Adapters, plans

KINDS = ("parameters", "gradients", "optimizer", "activations", "temporaries", "buffers", "other")
PLANS = plans(TokenSeekConfig(), Adapters(rank=4, float32=False))
OTHERWISE = plans(TokenSeekConfig(selector="random", logits=False), Adapters(rank=4, float32=True))
BEHIND_PROMPTS = plans(TokenSeekConfig.answers(), Adapters(rank=4, float32=False), supervised=0.125)


def small_llama(**changed: Any) -> LlamaConfig:
    """A config of two blocks, changed as told."""
    sizes = {
        "vocab_size": 512,
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    }
    return LlamaConfig(**sizes | changed)

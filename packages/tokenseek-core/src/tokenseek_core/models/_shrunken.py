"""A small random model of a config: the same code, a few narrow layers."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

LAYERS = 8
"""Enough to hold every kind of layer of the usual patterns, such as five and one."""

LARGEST = 200_000_000
"""Parameters that a small model has at most; some configs have sizes in fields of their own."""

_CEILINGS = {
    "vocab_size": 256,
    "intermediate_size": 128,
    "ffn_dim": 128,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "d_ff": 128,
    "n_inner": 128,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
    "num_experts": 8,
    "num_local_experts": 8,
    "n_routed_experts": 8,
    "n_group": 1,  # of experts; a small group could not give as many as are chosen
    "topk_group": 1,
    "sliding_window": 8,  # so that a short batch is longer than a window
    "attention_chunk_size": 8,
}


def shrunken(config: PreTrainedConfig) -> PreTrainedConfig:
    """A copy with few layers, two heads and small tables, wherever the config has such fields.

    The size of a head stays, since rotary frequencies and their factors are made for it.
    """
    small = _unquantised(config)
    for part in (getattr(small, name, None) for name in ("text_config", "vision_config")):
        if part is not None:
            vars(part).update(vars(shrunken(part)))
    if not hasattr(small, "num_hidden_layers"):  # made of parts alone
        return small
    _cut_layers(small)
    _cut_heads(small)
    for name, ceiling in _CEILINGS.items():
        value = getattr(small, name, None)
        if isinstance(value, int) and value > ceiling:
            setattr(small, name, ceiling)
    _fit_tokens(small)
    return small


def hollow_model(config: PreTrainedConfig, head: Any = AutoModelForCausalLM) -> PreTrainedModel:
    """Build the modules of a model of `config`, without memory for weights.

    Args:
        config: What the model is like.
        head: Auto class of transformers.
    """
    with torch.device("meta"):
        model: PreTrainedModel = head.from_config(_unquantised(config))
    return model


def random_model(config: PreTrainedConfig, head: Any) -> PreTrainedModel:
    """Build a model of `config` in float32, far from its mild starting point.

    Args:
        config: What the model is like.
        head: Auto class of transformers.

    Raises:
        ValueError: It would not be small.
    """
    size = sum(p.numel() for p in hollow_model(config, head).parameters())
    if size > LARGEST:
        raise ValueError(f"{size / 1e6:.0f} million parameters are left")
    config = _unquantised(config)
    config._experts_implementation = "eager"  # older grouped kernels do not run on every CPU
    model: PreTrainedModel = head.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():  # at its start a block hardly changes its input
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return nn.Module.train(model)


def _unquantised(config: PreTrainedConfig) -> PreTrainedConfig:
    config = copy.deepcopy(config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = config.architectures or []  # of several heads, None takes no first one
    return config


def _cut_layers(config: PreTrainedConfig) -> None:
    """Keep the first layers, and as many that each kind of layer is there."""
    depth = config.num_hidden_layers
    kinds = getattr(config, "layer_types", None) or []
    first_seen = [kinds.index(kind) + 1 for kind in set(kinds)]
    layers = min(depth, max([LAYERS, *first_seen]))
    for name, value in vars(config).items():  # lists with an entry for each layer
        if isinstance(value, list) and len(value) == depth:
            setattr(config, name, value[:layers])
    config.num_hidden_layers = layers
    for name in ("decoder_layers", "num_decoder_layers"):
        if isinstance(getattr(config, name, None), int):
            setattr(config, name, min(getattr(config, name), LAYERS))


def _cut_heads(config: PreTrainedConfig) -> None:
    """Keep two heads, or two queries of one key, and the width that they make."""
    width, narrow = config.hidden_size, 64
    heads = getattr(config, "num_attention_heads", None)
    if isinstance(heads, int):
        kept = min(heads, 2)
        narrow = kept * (getattr(config, "head_dim", None) or width // heads)
        shared = getattr(config, "num_key_value_heads", None)
        if isinstance(shared, int):
            config.num_key_value_heads = kept if shared == heads else 1
        config.num_attention_heads = kept
        if hasattr(config, "decoder_attention_heads"):
            config.decoder_attention_heads = kept
    for name, value in vars(config).items():  # widths that are to be the same stay the same
        if type(value) is int and value == width:
            setattr(config, name, narrow)
    config.hidden_size = narrow


def _fit_tokens(config: PreTrainedConfig) -> None:
    """Bring tokens with a meaning, and the choice of experts, into what is left."""
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
        if getattr(config, name, None) is not None:
            setattr(config, name, 0)
    for name in ("num_experts_per_tok", "moe_topk"):
        chosen = getattr(config, name, None)
        if isinstance(chosen, int):
            setattr(config, name, min(chosen, 4))

"""Linear layers of four bits a weight, as QLoRA puts them under its adapters."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor, nn
from torch._guards import active_fake_mode
from torch._subclasses.fake_tensor import unset_fake_temporarily
from transformers import BitsAndBytesConfig, PreTrainedModel

from tokenseek_common import InputError

BLOCK = 64  # weights that share a scale
TYPE = "nf4"


def has_bitsandbytes() -> bool:
    """Whether the library with the 4-bit layers is installed."""
    return importlib.util.find_spec("bitsandbytes") is not None


def check_bitsandbytes(asked: str) -> None:
    """Refuse a 4-bit base where bitsandbytes is not installed.

    Args:
        asked: What asks for it, with its value.

    Raises:
        InputError: It is not.
    """
    if not has_bitsandbytes():
        raise InputError(f'{asked} must have bitsandbytes; pip install "tokenseek-core[qlora]"')


def quantize(model: PreTrainedModel) -> PreTrainedModel:
    """Put an NF4 layer in the place of every linear layer but the head.

    Scales are quantised as well; embeddings, norms and head stay as they are. Models that
    `from_pretrained` quantises come out the same. Fake weights give fake layers.

    Args:
        model: A model with its weights; it is changed.

    Returns:
        The same model.
    """
    from bitsandbytes.nn import Linear4bit
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    before = dict(model.named_modules())
    head = model.get_output_embeddings()
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=TYPE,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=model.dtype,
    )
    with unset_fake_temporarily():  # its parameters are of a class of their own, never fake
        replace_with_bnb_linear(model, [name for name, m in before.items() if m is head], config)
    for name, layer in model.named_modules():
        if isinstance(layer, Linear4bit):
            old: Any = before[name]
            weight = old.weight.detach()
            # GPT-2 keeps its matrices the other way round.
            fill(layer, weight if isinstance(old, nn.Linear) else weight.T.contiguous())
            # Else some CPUs pack the weights for good in evaluation, and no gradient is right after
            layer.support_avx512bf16_for_cpu = False
            layer.bias = old.bias
    vars(model)["is_loaded_in_4bit"] = True  # peft asks for it
    return model.requires_grad_(False)


def fill(layer: Any, weight: Tensor) -> None:
    """Give a 4-bit layer its weight.

    Args:
        layer: A Linear4bit without values.
        weight: What is quantised, [out, in].
    """
    from bitsandbytes.functional import quantize_4bit
    from bitsandbytes.nn import Params4bit

    settings = vars(layer.weight)
    if active_fake_mode() is None:
        layer.weight = Params4bit(weight, requires_grad=False, **settings).to(weight.device)
        return
    with unset_fake_temporarily():  # the library keeps its tables of levels for ever
        quantize_4bit(torch.zeros(BLOCK, 1), compress_statistics=True, quant_type=TYPE)
    packed, state = quantize_4bit(
        weight, blocksize=BLOCK, compress_statistics=True, quant_type=TYPE
    )
    layer.weight = nn.Parameter(packed, requires_grad=False)  # [out * in / 2, 1], two in a byte
    vars(layer.weight).update(settings | {"quant_state": state, "bnb_quantized": True})
    layer.quant_state = state

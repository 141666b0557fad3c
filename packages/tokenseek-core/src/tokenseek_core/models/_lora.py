"""Adapters in place of weights: what `--lora` trains."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from tokenseek_common import InputError
from tokenseek_core.models._embedded import SMOLLM2, SMOLLM2_HUB_ID

RANK = 8
ALPHA = 16


def has_peft() -> bool:
    """Whether the library with the adapters is installed."""
    return importlib.util.find_spec("peft") is not None


def check_peft() -> None:
    """Refuse `--lora` where peft is not installed.

    Raises:
        InputError: It is not.
    """
    if not has_peft():
        raise InputError('lora (True) must have peft; pip install "tokenseek-core[peft]"')


def with_lora(
    model: PreTrainedModel, source: str, *, rank: int = RANK, float32: bool = True
) -> Any:
    """Freeze `model` and put a low-rank adapter beside every linear layer but the head.

    Args:
        model: The base.
        source: What the user called it; the saved adapter names its base.
        rank: Rank of each adapter.
        float32: Whether adapters of a base in half precision are in float32.

    Returns:
        The model inside PEFT.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=ALPHA, target_modules="all-linear"
    )
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 by an old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        # It sees for itself how GPT-2 keeps its matrices, and says so.
        warnings.filterwarnings("ignore", "fan_in_fan_out is set", UserWarning)
        adapted = get_peft_model(model, config, autocast_adapter_dtype=float32)
    if source == SMOLLM2:  # the folder of its wheel is none that from_pretrained opens
        config.base_model_name_or_path = SMOLLM2_HUB_ID
    elif Path(source).is_dir():  # the adapter may be opened from elsewhere
        config.base_model_name_or_path = str(Path(source).resolve())
    # By default every save asks the hub whether the vocabulary has grown; here it never does.
    save = functools.partial(adapted.save_pretrained, save_embedding_layers=False)
    vars(adapted)["save_pretrained"] = save
    return adapted

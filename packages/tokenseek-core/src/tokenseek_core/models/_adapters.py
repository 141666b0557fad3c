"""Adapters in place of weights: what `--adapter` trains."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from transformers import PreTrainedModel

from tokenseek_common import InputError
from tokenseek_core.models._embedded import SMOLLM2, SMOLLM2_HUB_ID

RANK = 8
ALPHA = 16

AdapterKind: TypeAlias = Literal["lora", "dora", "loha"]
"""How an adapter changes a linear layer: by two thin matrices, by these and a length for each row,
or by the elementwise product of two such pairs."""


@dataclass(frozen=True)
class Adapters:
    """What is trained beside frozen weights.

    Args:
        rank: Rank of each adapter.
        float32: Whether adapters of a base in half precision are in float32, as peft makes them
            where it is not told otherwise.
        kind: How they change their layers.
        alpha: What they are multiplied by, times their rank.
        dropout: Share of their inputs that a step leaves out.
        targets: Names of the layers that get one; none names every linear layer but the head.
    """

    rank: int = RANK
    float32: bool = True
    kind: AdapterKind = "lora"
    alpha: int = ALPHA
    dropout: float = 0.0
    targets: tuple[str, ...] = ()

    def config(self) -> Any:
        """The same for peft."""
        from peft import LoHaConfig, LoraConfig

        common: dict[str, Any] = {
            "task_type": "CAUSAL_LM",
            "r": self.rank,
            "target_modules": list(self.targets) or "all-linear",
        }
        if self.kind == "loha":
            return LoHaConfig(alpha=self.alpha, module_dropout=self.dropout, **common)
        return LoraConfig(
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            use_dora=self.kind == "dora",
            **common,
        )


def has_peft() -> bool:
    """Whether the library with the adapters is installed."""
    return importlib.util.find_spec("peft") is not None


def check_peft(asked: str) -> None:
    """Refuse adapters where peft is not installed.

    Args:
        asked: What asks for them, with its value.

    Raises:
        InputError: It is not.
    """
    if not has_peft():
        raise InputError(f'{asked} must have peft; pip install "tokenseek-core[peft]"')


def with_adapters(model: PreTrainedModel, source: str, adapters: Adapters) -> Any:
    """Freeze `model` and put adapters beside its linear layers.

    Args:
        model: The base.
        source: What the user called it; the saved adapter names its base.
        adapters: What they are.

    Returns:
        The model inside PEFT.

    Raises:
        InputError: The model has no such layers, or none that adapters of this kind fit.
    """
    from peft import get_peft_model

    config = adapters.config()
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 by an old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        # It sees for itself how GPT-2 keeps its matrices, and says so.
        warnings.filterwarnings("ignore", "fan_in_fan_out is set", UserWarning)
        try:
            adapted = get_peft_model(model, config, autocast_adapter_dtype=adapters.float32)
        except ValueError as error:
            reason = str(error).strip().splitlines()[0].rstrip(" .")
            raise InputError(
                f"adapter ({adapters.kind}) must fit layers of the model ({reason}); choose "
                "another --adapter or --adapter-targets"
            ) from error
    if source == SMOLLM2:  # the folder of its wheel is none that from_pretrained opens
        config.base_model_name_or_path = SMOLLM2_HUB_ID
    elif Path(source).is_dir():  # the adapter may be opened from elsewhere
        config.base_model_name_or_path = str(Path(source).resolve())
    # By default every save asks the hub whether the vocabulary has grown; here it never does.
    save = functools.partial(adapted.save_pretrained, save_embedding_layers=False)
    vars(adapted)["save_pretrained"] = save
    return adapted

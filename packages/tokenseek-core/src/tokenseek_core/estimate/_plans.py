"""The ways to fine-tune that are estimated: what is trained, over which base, by which step."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    PreTrainedConfig,
    masking_utils,
)

from tokenseek_common import InputError
from tokenseek_common.memory import Estimator
from tokenseek_core._anatomy import replaced
from tokenseek_core._apply import apply_tokenseek
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._counts import supposed_supervised
from tokenseek_core._loss import IGNORE_INDEX
from tokenseek_core._wrappers import unwrap
from tokenseek_core.inspect import Method, methods
from tokenseek_core.inspect._compare import set_checkpointing
from tokenseek_core.models._adapters import Adapters, has_peft, with_adapters
from tokenseek_core.models._four_bit import has_bitsandbytes, quantize


@dataclass(frozen=True)
class Plan:
    """A way to fine-tune.

    Args:
        method: How a step runs.
        adapters: What is trained beside frozen weights; None trains all weights.
        four_bit: Whether the linear layers of the base have four bits a weight.
        supervised: Share of the tokens of its batches that carry the loss.
    """

    method: Method
    adapters: Adapters | None = None
    four_bit: bool = False
    supervised: float = 1.0

    @property
    def name(self) -> str:
        """How tables call it."""
        base = "4-bit LoRA" if self.four_bit else "LoRA" if self.adapters else ""
        step = self.method.name
        return " + ".join(filter(None, (base, "" if base and step == "dense" else step)))

    def build(self, config: PreTrainedConfig, dtype: torch.dtype) -> Any:
        """Make the model from its config, ready to train.

        Raises:
            InputError: The model is none that TokenSeek trains.
        """
        # A model writes into the config that it is made from.
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype)
        if self.four_bit:
            quantize(model)
        if self.adapters is not None:
            model = with_adapters(model, "", self.adapters)
        set_checkpointing(unwrap(model), self.method.checkpointing)
        if self.method.config is not None:
            apply_tokenseek(model, self.method.config)
        return model.train()

    def estimator(
        self, config: PreTrainedConfig, dtype: torch.dtype
    ) -> Estimator[nn.Module, Tensor]:
        """Make an estimator of steps that train with fused AdamW; batches are input ids."""
        return Estimator(lambda: self.build(config, dtype), self.loss)

    def loss(self, model: Any, ids: Tensor) -> Tensor:
        """The loss of a batch without padding, carried by the last tokens of each instance."""
        labels = ids.clone()
        carrying = round(self.supervised * ids.shape[1])
        labels[:, : max(0, ids.shape[1] - carrying)] = IGNORE_INDEX
        with supposed_supervised(self.supervised), no_packed_sequences():
            return self.method.loss_of(model, {"input_ids": ids, "labels": labels})


def ids(batch_size: int, length: int) -> Callable[[], Tensor]:
    """A batch of tokens without padding, for an estimator."""
    return lambda: torch.zeros((batch_size, length), dtype=torch.long)


@contextmanager
def no_packed_sequences() -> Iterator[None]:
    """Let no mask be made that no batch needs: fake tensors are taken for those of a compiler."""
    with replaced(masking_utils, "find_packed_sequence_indices", lambda position_ids: None):
        yield


def plans(config: TokenSeekConfig, adapters: Adapters, supervised: float = 1.0) -> list[Plan]:
    """The plans that the installed libraries allow, those that need most of them last.

    Args:
        config: TokenSeek's settings.
        adapters: What LoRA trains.
        supervised: Share of the tokens that carry the loss.
    """
    bases: list[tuple[Adapters | None, bool]] = [(None, False)]
    if has_peft():
        bases.append((adapters, False))
        if has_bitsandbytes():
            bases.append((adapters, True))
    steps = methods(dataclasses.replace(config, check=False))
    return [Plan(step, *base, supervised) for base in bases for step in steps]


def missing_libraries() -> list[str]:
    """What to install for the plans that are left out."""
    missing = []
    if not has_peft():
        missing.append('rows with LoRA need peft: pip install "tokenseek-core[peft]"')
    if not has_bitsandbytes():
        missing.append(
            'rows with a 4-bit base need bitsandbytes: pip install "tokenseek-core[qlora]"'
        )
    return missing


def admit(config: PreTrainedConfig, settings: TokenSeekConfig, dtype: torch.dtype) -> None:
    """Refuse a model before anything is estimated.

    Raises:
        InputError: It is no causal language model, or none that TokenSeek trains.
    """
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(
            f"model ({config.model_type}) must be a causal language model; choose another MODEL"
        )
    with torch.device("meta"):
        Plan(Method("TokenSeek", settings)).build(config, dtype)

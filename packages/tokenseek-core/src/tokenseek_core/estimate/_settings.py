"""What an estimate can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from tokenseek_common.cli import DtypeName, RunSettings, check_counts, on_unless
from tokenseek_core._config import (
    DEFAULT_GRADIENT,
    DEFAULT_SELECTOR,
    GradientName,
    SelectorName,
    TokenSeekConfig,
)
from tokenseek_core.estimate._device_memory import parse_memory
from tokenseek_core.models._embedded import SMOLLM2
from tokenseek_core.models._lora import RANK


@dataclass(frozen=True, kw_only=True)
class EstimateSettings(RunSettings):
    """What `estimate` does; the options of `tokenseek estimate` are the same.

    Raises:
        InputError: A value is outside its range.

    Example:
        >>> EstimateSettings(length=4096, device_memory="24GiB").batch_size
        1
    """

    model: tyro.conf.Positional[str] = SMOLLM2
    """A folder, a config.json, a hub id, or smollm2 for the embedded model."""

    length: int = 2048
    """Tokens of each sequence."""

    batch_size: int = 1
    """Sequences of a step."""

    dtype: DtypeName = "bfloat16"
    """Precision of weights and adapters; auto is what other commands would take here."""

    ratio: float = 0.1
    """Share of the tokens that carry gradient in the rows with TokenSeek, in (0, 1]."""

    selector: SelectorName = DEFAULT_SELECTOR
    """How those rows choose tokens."""

    gradient: GradientName = DEFAULT_GRADIENT
    """What they back-propagate."""

    logits: Annotated[
        bool, on_unless("Compute the loss of their steps in chunks of rows, without logits.")
    ] = True
    """Whether their steps return logits; without, the loss is computed in chunks of rows."""

    lora_rank: int = RANK
    """Rank of the adapters in the rows with LoRA."""

    lora_float32: bool = False
    """Keep adapters in float32, as peft does unless it is told otherwise."""

    device_memory: Annotated[str | None, tyro.conf.arg(metavar="SIZE")] = None
    """Memory of a device, such as 24GiB: what fits, and what would fit at most?"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"length": self.length}, least=2)
        check_counts({"batch_size": self.batch_size, "lora_rank": self.lora_rank})
        if self.device_memory is not None:
            parse_memory(self.device_memory)
        _ = self.config

    @property
    def config(self) -> TokenSeekConfig:
        """TokenSeek's own settings."""
        return TokenSeekConfig(
            ratio=self.ratio, selector=self.selector, gradient=self.gradient, logits=self.logits
        )

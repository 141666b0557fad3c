"""What an estimate can be asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from tokenseek_common import InputError
from tokenseek_common.cli import DtypeName, check_counts, on_unless
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._instances import Instance
from tokenseek_core._row_settings import RowSettings
from tokenseek_core.estimate._device_memory import parse_memory
from tokenseek_core.models._adapters import RANK
from tokenseek_core.models._embedded import SMOLLM2


@dataclass(frozen=True, kw_only=True)
class EstimateSettings(RowSettings):
    """What `estimate` does; the options of `tokenseek estimate` are the same.

    Raises:
        InputError: A value is outside its range.

    Example:
        >>> EstimateSettings(length=4096, device_memory="24GiB").batch_size
        1
    """

    model: tyro.conf.Positional[str] = SMOLLM2
    """A folder, a config.json, a hub id, or smollm2 for the embedded model."""

    ratio: float = 0.1
    """Share of the tokens that carry gradient, in (0, 1]; where those that carry the loss have a
    share of their own, of the others. 1 trains densely."""

    length: int = 2048
    """Tokens of each sequence."""

    batch_size: int = 1
    """Sequences of a step."""

    dtype: DtypeName = "bfloat16"
    """Precision of weights and adapters; auto is what other commands would take here."""

    supervised: float = 1.0
    """Share of the tokens that carry the loss, in (0, 1]; 0.12 are answers behind long prompts."""

    logits: Annotated[
        bool, on_unless("Compute the loss of TokenSeek's steps in chunks of rows, without logits.")
    ] = True
    """Whether TokenSeek's steps return logits; without, the loss is computed in chunks of rows."""

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
        if not 0 < self.supervised <= 1:
            raise InputError(
                f"supervised ({self.supervised}) must be in (0, 1]; 1 is the loss of every token"
            )
        _ = self.chosen

    @property
    def instance(self) -> Instance:
        """The sequences of a batch, which are alike."""
        return Instance(self.length, round(self.supervised * self.length))

    @property
    def chosen(self) -> TokenSeekConfig:
        """TokenSeek's own settings for such batches, as a fine-tuning chooses them."""
        config = self.config_for([self.instance])
        return replace(config, logits=config.logits and self.logits)

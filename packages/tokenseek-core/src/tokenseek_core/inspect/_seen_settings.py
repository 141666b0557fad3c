"""What a look at the kept tokens can be asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from tokenseek_common import InputError
from tokenseek_common.cli import check_counts
from tokenseek_common.data import Template
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._row_settings import RowSettings
from tokenseek_core.models._embedded import SMOLLM2


@dataclass(frozen=True, kw_only=True)
class SeenSettings(RowSettings):
    """What `look` looks at; the options of `tokenseek inspect` are the same.

    Raises:
        InputError: A value is outside its range, or it is not either data or a text.

    Example:
        >>> SeenSettings(data="train.jsonl").instances
        3
    """

    model: str = SMOLLM2
    """A folder, a hub id, or smollm2 for the embedded model."""

    data: str | None = None
    """A file (.jsonl, .json, .csv, .tsv, .parquet, .txt), or a data set on the hub."""

    text: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """In place of --data: a text, all of which is learnt, seen in stretches of --max-length."""

    template: Template = "auto"
    """How a conversation is written out, as `finetune` does it."""

    instances: int = 3
    """Look at this many, the first ones."""

    max_length: int = 512
    """Tokens of an instance, longer ones are cut."""

    alpha: float = 1.0
    """Weight of the context score, the attention that a token receives."""

    beta: float = 1.0
    """Weight of the gradient score."""

    log: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Show by training step what a run kept: the kept.jsonl of finetune --record-every."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"instances": self.instances})
        check_counts({"max_length": self.max_length}, least=2)
        if (self.data is None) == (self.text is None):
            raise InputError(
                f"data, text ({self.data}, {self.text}) must be one of the two; give --data FILE "
                "or --text FILE"
            )
        _ = self.config

    @property
    def config(self) -> TokenSeekConfig:
        """TokenSeek's own settings, where the data leave them as they are."""
        return replace(super().config, alpha=self.alpha, beta=self.beta)

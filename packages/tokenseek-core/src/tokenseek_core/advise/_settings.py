"""What advice can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from tokenseek_common.cli import DtypeName, RunSettings, check_counts
from tokenseek_common.data import Template
from tokenseek_core.estimate._device_memory import parse_memory


@dataclass(frozen=True, kw_only=True)
class AdviseSettings(RunSettings):
    """What `advise` looks at; the options of `tokenseek advise` are the same.

    Raises:
        InputError: A value is outside its range.

    Example:
        >>> AdviseSettings(model="smollm2", data="train.jsonl", lora=True).batch_size
        4
    """

    model: str
    """A folder, a hub id, or smollm2 for the embedded model; its weights are not needed."""

    data: str
    """A file (.jsonl, .json, .csv, .tsv, .parquet, .txt), or a data set on the hub."""

    template: Template = "auto"
    """How a conversation is written out, as `finetune` does it."""

    length: int | None = None
    """Tokens of a sequence, longer ones are cut; by default 1024 if the model has so many."""

    batch_size: int = 4
    """Sequences of a step."""

    lora: bool = False
    """Train a low-rank adapter on every linear layer instead of the weights."""

    dtype: DtypeName = "float32"
    """Precision of the weights."""

    device_memory: Annotated[str | None, tyro.conf.arg(metavar="SIZE")] = None
    """Memory of the device, such as 24GiB, that a step must fit into."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"length": self.length}, least=2)
        check_counts({"batch_size": self.batch_size})
        if self.device_memory is not None:
            parse_memory(self.device_memory)

"""`tokenseek estimate`: what a training step will need, from the config of a model alone."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Annotated

import tyro
from torch import Tensor, nn

from tokenseek_common import InputError
from tokenseek_common.cli import (
    CommonOptions,
    Console,
    DtypeName,
    check_folder,
    fresh_folder,
    resolve_device,
    resolve_dtype,
)
from tokenseek_common.memory import Estimator, MemoryReport
from tokenseek_core._config import (
    DEFAULT_GRADIENT,
    DEFAULT_SELECTOR,
    GradientName,
    SelectorName,
    TokenSeekConfig,
)
from tokenseek_core.estimate._device_memory import parse_memory
from tokenseek_core.estimate._plans import Adapters, admit, ids, missing_libraries, plans
from tokenseek_core.estimate._rows import Room, Row, memory_table, room_table
from tokenseek_core.estimate._search import largest_that_fits
from tokenseek_core.models._config_source import load_config
from tokenseek_core.models._lora import RANK
from tokenseek_core.models._pretrained import SMOLLM2, quiet

LONGEST = 2**20
"""Tokens of a sequence at most, where a config does not say."""

LARGEST = 2**16
"""Sequences of a batch at most."""


@dataclass(frozen=True, kw_only=True)
class Estimate(CommonOptions):
    """Tell what training steps of a model need, before there are weights or a GPU.

    Reads the config alone. Each way to fine-tune is run on tensors without memory, and the ledger
    of its second step is printed: every kind of memory at the instant of the peak, and their sum.
    Batches have no padding and every token is supervised; the optimizer is fused AdamW. Not in the
    numbers are what a GPU's allocator keeps without using, the workspaces inside kernels (among
    them one layer's weight that a 4-bit forward unpacks) and the context of CUDA. Nothing is
    written unless --output names a folder, which then receives estimate.json.
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

    logits: bool = True
    """Whether their steps return logits; without, the loss is computed in chunks of rows."""

    lora_rank: int = RANK
    """Rank of the adapters in the rows with LoRA."""

    lora_float32: bool = False
    """Keep adapters in float32, as peft does unless it is told otherwise."""

    device_memory: Annotated[str | None, tyro.conf.arg(metavar="SIZE")] = None
    """Memory of a device, such as 24GiB: what fits, and what would fit at most?"""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("length", "batch_size", "lora_rank"):
            value = getattr(self, name)
            least = 2 if name == "length" else 1
            if value < least:
                raise InputError(
                    f"{name} ({value}) must be at least {least}; "
                    f"choose another --{name.replace('_', '-')}"
                )
        if self.device_memory is not None:
            parse_memory(self.device_memory)
        self._settings()

    def _settings(self) -> TokenSeekConfig:
        return TokenSeekConfig(
            ratio=self.ratio, selector=self.selector, gradient=self.gradient, logits=self.logits
        )

    def run(self, console: Console) -> None:
        """Read the config, estimate, tell."""
        check_folder(self.output)
        dtype = resolve_dtype(self.dtype, resolve_device(self.device))
        config = load_config(self.model)
        longest = getattr(config, "max_position_embeddings", None) or LONGEST
        if self.length > longest:
            raise InputError(
                f"length ({self.length}) must be at most {longest}, the positions of "
                f"{self.model}; choose another --length"
            )
        settings = self._settings()
        with quiet():
            admit(config, settings, dtype)
        for remark in missing_libraries():
            console.note(remark)
        chosen = plans(settings, Adapters(self.lora_rank, self.lora_float32))
        rows = []
        with console.progress("estimating", total=len(chosen)) as progress:
            for plan in chosen:
                with quiet():
                    rows.append(self._row(plan.name, plan.estimator(config, dtype), longest))
                progress.advance(peak_GiB=rows[-1].memory.peak / 2**30)
        self._tell(console, rows, str(dtype).removeprefix("torch."))

    def _row(self, name: str, estimator: Estimator[nn.Module, Tensor], longest: int) -> Row:
        """Estimate the step that was asked for, and what fits where that was asked too."""

        @functools.cache
        def report(batch_size: int, length: int) -> MemoryReport:
            return estimator(ids(batch_size, length))

        asked = report(self.batch_size, self.length)
        if self.device_memory is None:
            return Row(name, asked)
        memory = parse_memory(self.device_memory)
        longest_sequence = largest_that_fits(
            lambda length: report(self.batch_size, length).peak,
            memory,
            start=self.length,
            least=2,
            most=longest,
        )
        largest_batch = largest_that_fits(
            lambda batch_size: report(batch_size, self.length).peak,
            memory,
            start=self.batch_size,
            least=1,
            most=LARGEST,
        )
        return Row(name, asked, Room(asked.peak <= memory, longest_sequence, largest_batch))

    def _tell(self, console: Console, rows: list[Row], dtype: str) -> None:
        """Print, and write where a folder was named."""
        console.table(
            f"One step of {self.model}, {self.batch_size} x {self.length} tokens, {dtype}, "
            f"ratio {self.ratio:g}",
            *memory_table(rows),
        )
        if self.device_memory is not None:
            console.table(
                f"On a device with {self.device_memory}: the longest sequence of a batch of "
                f"{self.batch_size}, the largest batch of {self.length} tokens each",
                *room_table(rows),
            )
        result = {
            "model": self.model,
            "batch_size": self.batch_size,
            "length": self.length,
            "dtype": dtype,
            "ratio": self.ratio,
            "selector": self.selector,
            "gradient": self.gradient,
            "logits": self.logits,
            "lora_rank": self.lora_rank,
            "lora_float32": self.lora_float32,
            "optimizer": "AdamW(fused=True)",
            "device_memory": self.device_memory,
            "steps": [row.summary(rows[0]) for row in rows],
        }
        if self.output is not None:
            folder = fresh_folder(self.output, default="tokenseek-estimate")
            (folder / "estimate.json").write_text(json.dumps(result, indent=2) + "\n")
        console.result(result)

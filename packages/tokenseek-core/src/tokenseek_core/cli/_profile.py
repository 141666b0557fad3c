"""`tokenseek profile`: what a training step costs, densely and through the kept tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

from tokenseek_common import InputError
from tokenseek_common.cli import (
    CommonOptions,
    Console,
    check_folder,
    fresh_folder,
    resolve_device,
    resolve_dtype,
)
from tokenseek_core._apply import apply_tokenseek
from tokenseek_core._config import (
    DEFAULT_GRADIENT,
    DEFAULT_SELECTOR,
    GradientName,
    SelectorName,
    TokenSeekConfig,
)
from tokenseek_core.inspect import compare_steps, methods
from tokenseek_core.inspect._costs import cost_table
from tokenseek_core.models._pretrained import SMOLLM2, check_source, load_pretrained


@dataclass(frozen=True, kw_only=True)
class Profile(CommonOptions):
    """Measure dense, checkpointed and TokenSeek steps of a model side by side.

    The batch is random tokens, all of them supervised. Nothing is trained; nothing is written
    unless --output names a folder, which then receives profile.json.
    """

    model: str = SMOLLM2
    """A folder, a hub id, or smollm2 for the embedded model."""

    length: int = 512
    """Tokens of each sequence."""

    batch_size: int = 1
    """Sequences of a step."""

    ratio: float = 0.1
    """Share of the tokens that carry gradient, in (0, 1]."""

    selector: SelectorName = DEFAULT_SELECTOR
    """How tokens are chosen."""

    gradient: GradientName = DEFAULT_GRADIENT
    """What they back-propagate: restart starts the loss anew from them, inject hands them the
    exact adjoint from the last block, which stays exact itself."""

    repeats: int = 3
    """Timed steps of each method; the shortest counts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("length", "batch_size", "repeats"):
            value = getattr(self, name)
            least = 2 if name == "length" else 1
            if value < least:
                raise InputError(
                    f"{name} ({value}) must be at least {least}; "
                    f"choose another --{name.replace('_', '-')}"
                )
        TokenSeekConfig(ratio=self.ratio, selector=self.selector, gradient=self.gradient)

    def run(self, console: Console) -> None:
        """Load, measure, tell."""
        check_folder(self.output)
        check_source(self.model)
        device = resolve_device(self.device)
        torch.manual_seed(self.seed)
        console.note(f"loading {self.model}")
        model, _ = load_pretrained(
            self.model, device=device, dtype=resolve_dtype(self.dtype, device)
        )
        longest = getattr(model.config, "max_position_embeddings", self.length)
        if self.length > longest:
            raise InputError(
                f"length ({self.length}) must be at most {longest}, the positions of "
                f"{self.model}; choose another --length"
            )
        config = TokenSeekConfig(ratio=self.ratio, selector=self.selector, gradient=self.gradient)
        apply_tokenseek(model, config).remove()  # refuses a model before minutes of measuring
        ids = torch.randint(model.config.vocab_size, (self.batch_size, self.length), device=device)
        console.note("measuring dense, checkpointed and TokenSeek steps")
        costs = list(
            compare_steps(
                model.train(),
                {"input_ids": ids, "labels": ids},
                methods(config),
                repeats=self.repeats,
            )
        )
        console.table(
            f"One step of {self.model}, {self.batch_size} x {self.length} tokens, "
            f"ratio {self.ratio:g}, on {device}",
            *cost_table(costs),
        )
        result = {
            "model": self.model,
            "batch_size": self.batch_size,
            "length": self.length,
            "ratio": self.ratio,
            "selector": self.selector,
            "gradient": self.gradient,
            "device": str(device),
            "steps": [cost.summary() for cost in costs],
        }
        if self.output is not None:
            folder = fresh_folder(self.output, default="tokenseek-profile")
            (folder / "profile.json").write_text(json.dumps(result, indent=2) + "\n")
        console.result(result)

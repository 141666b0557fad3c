"""What a training step of a model costs, densely and through the kept tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tokenseek_common.cli import Console, resolve_device, resolve_dtype
from tokenseek_core._apply import apply_tokenseek
from tokenseek_core.inspect._compare import StepCost, compare_steps, methods
from tokenseek_core.inspect._profile_settings import ProfileSettings
from tokenseek_core.models._embedded import check_source
from tokenseek_core.models._positions import check_positions
from tokenseek_core.models._pretrained import load_pretrained


@dataclass(frozen=True)
class StepProfile:
    """What steps of a model cost.

    Args:
        settings: What was asked for.
        device: Where it was measured.
        costs: A step of each method; the dense one first.
    """

    settings: ProfileSettings
    device: str
    costs: tuple[StepCost, ...]

    def summary(self) -> dict[str, Any]:
        """Settings and figures by name, for JSON."""
        names = ("model", "batch_size", "length", "ratio", "selector", "gradient")
        return {
            **{name: getattr(self.settings, name) for name in names},
            "device": self.device,
            "steps": [cost.summary() for cost in self.costs],
        }


def profile(settings: ProfileSettings, *, console: Console | None = None) -> StepProfile:
    """Measure dense, checkpointed and TokenSeek steps of a model side by side.

    The batch is random tokens, all of them supervised. Nothing is trained.

    Args:
        settings: Which model, and which steps.
        console: Where notes are told; None tells nothing.

    Returns:
        What each step saves for backward, holds and takes.

    Raises:
        InputError: The model cannot be loaded or trained by TokenSeek, or has fewer positions than
            the sequences.

    Example:
        >>> profile(ProfileSettings(length=256)).costs[0].seconds  # doctest: +SKIP
    """
    console = Console(quiet=True) if console is None else console
    check_source(settings.model)
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    console.note(f"loading {settings.model}")
    model, _ = load_pretrained(
        settings.model, device=device, dtype=resolve_dtype(settings.dtype, device)
    )
    longest = getattr(model.config, "max_position_embeddings", None)
    check_positions(settings.length, longest, field="length", source=settings.model)
    apply_tokenseek(model, settings.config).remove()  # refuses a model before minutes of measuring
    shape = (settings.batch_size, settings.length)
    ids = torch.randint(model.config.vocab_size, shape, device=device)
    console.note("measuring dense, checkpointed and TokenSeek steps")
    costs = compare_steps(
        model.train(),
        {"input_ids": ids, "labels": ids},
        methods(settings.config),
        repeats=settings.repeats,
    )
    return StepProfile(settings, str(device), tuple(costs))

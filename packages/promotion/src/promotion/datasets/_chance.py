"""Numbers drawn from a generator."""

from __future__ import annotations

import torch


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """A number between two."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def happens(chance: float, generator: torch.Generator) -> bool:
    """Whether what has this chance happens."""
    return uniform(0.0, 1.0, generator) < chance


def whole(below: int, generator: torch.Generator) -> int:
    """A whole number from 0 to the one below."""
    return int(torch.randint(below, (), generator=generator))

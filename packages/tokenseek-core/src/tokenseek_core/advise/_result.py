"""Advice as a table and as JSON."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenseek_common.memory import format_bytes
from tokenseek_core._instances import Instance, supervised_share
from tokenseek_core.advise._option import Option
from tokenseek_core.advise._recommendation import Recommendation
from tokenseek_core.advise._settings import AdviseSettings


@dataclass(frozen=True)
class Material:
    """The data as a model sees them.

    Args:
        instances: Every example by its tokens.
        batch_size: Examples of a step.
    """

    instances: tuple[Instance, ...]
    batch_size: int

    @property
    def tokens(self) -> int:
        """Tokens of all examples."""
        return sum(each.length for each in self.instances)

    @property
    def longest_batch(self) -> list[Instance]:
        """The longest examples, as many as a step has at most."""
        return heapq.nlargest(self.batch_size, self.instances)

    @property
    def longest(self) -> int:
        """Tokens of the longest example."""
        return self.longest_batch[0].length

    @property
    def supervised_share(self) -> float:
        """Share of the tokens that carry the loss."""
        return supervised_share(self.instances)

    def summary(self) -> dict[str, Any]:
        """The figures by name, for JSON."""
        return {
            "examples": len(self.instances),
            "tokens": self.tokens,
            "longest": self.longest,
            "supervised_share": round(self.supervised_share, 4),
        }


@dataclass(frozen=True)
class Advice:
    """What is advised, and what it follows from.

    Args:
        settings: What was asked.
        material: The data.
        options: Every way; the dense one, which shares are of, first.
        recommendation: The one to take.
    """

    settings: AdviseSettings
    material: Material
    options: tuple[Option, ...]
    recommendation: Recommendation

    def summary(self) -> dict[str, Any]:
        """Settings, figures and recommendation by name, for JSON."""
        asked = ("model", "data", "length", "batch_size", "lora", "dtype", "device_memory")
        return {
            **{name: getattr(self.settings, name) for name in asked},
            **self.material.summary(),
            "options": [option.summary() for option in self.options],
            "recommendation": dataclasses.asdict(self.recommendation),
        }


def option_table(options: Sequence[Option]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: what each way takes, and whether it is there."""
    fits = {True: ["yes"], False: ["no"], None: []}
    headings = ["step", "gradient", "memory", "of dense", "operations"]
    rows = [
        [
            option.step,
            "exact" if option.exact else "of kept tokens",
            format_bytes(option.peak),
            f"{option.memory:.0%}",
            f"{option.operations:.0%}",
            *fits[option.fits],
        ]
        for option in options
    ]
    return [*headings, *(["fits"] if options[0].fits is not None else [])], rows

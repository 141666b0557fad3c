"""How much is kept of tokens of each class, and of each part of an instance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tokenseek_core._token_classes import TOKEN_CLASSES, TokenClass

PARTS = 10
"""Parts of equal length that an instance is seen in, from its first token to its last."""


@dataclass(frozen=True)
class Kept:
    """Tokens, and those of them that carry gradient.

    Args:
        tokens: How many there are.
        kept: How many carry gradient.
    """

    tokens: int
    kept: int

    @property
    def share(self) -> float | None:
        """Share that carries gradient; None of nothing."""
        return self.kept / self.tokens if self.tokens else None

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.tokens + other.tokens, self.kept + other.kept)


@dataclass(frozen=True)
class KeptShares:
    """What was kept of instances.

    Args:
        by_class: Of each class of tokens.
        by_position: Of each tenth of an instance, the first in front.
    """

    by_class: Mapping[TokenClass, Kept]
    by_position: tuple[Kept, ...]

    @property
    def all(self) -> Kept:
        """Of all tokens."""
        return total(self.by_position)

    def summary(self) -> dict[str, object]:
        """The counts by name, for JSON."""
        return {
            "tokens": self.all.tokens,
            "kept": self.all.kept,
            "kept_share": self.all.share,
            "by_class": {
                name: {"tokens": each.tokens, "kept": each.kept}
                for name, each in self.by_class.items()
            },
            "by_position": [
                {"tokens": each.tokens, "kept": each.kept} for each in self.by_position
            ],
        }


def kept_shares(instances: Iterable[Sequence[tuple[TokenClass, bool]]]) -> KeptShares:
    """Count what was kept.

    Args:
        instances: Class of each token, and whether it was kept.
    """
    by_class = dict.fromkeys(TOKEN_CLASSES, Kept(0, 0))
    by_position = [Kept(0, 0)] * PARTS
    for instance in instances:
        for position, (name, kept) in enumerate(instance):
            one = Kept(1, int(kept))
            part = position * PARTS // len(instance)
            by_class[name] += one
            by_position[part] += one
    return KeptShares(by_class, tuple(by_position))


def total(counts: Iterable[Kept]) -> Kept:
    """All of them together."""
    return sum(counts, Kept(0, 0))

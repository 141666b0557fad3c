"""What a model learns from: token ids and, for each, whether it is to be predicted."""

from __future__ import annotations

from dataclasses import dataclass

IGNORE_INDEX = -100
"""The label of a token that is not to be predicted; torch's cross entropy skips it."""


@dataclass(frozen=True)
class Example:
    """One encoded record.

    Args:
        input_ids: The tokens of prompt and response, in order.
        labels: As many: the token itself where it is supervised, `IGNORE_INDEX` elsewhere. Labels
            stand at the position of their own token; a causal model shifts them by itself.

    Raises:
        ValueError: If the two differ in length.

    Example:
        >>> Example([5, 6, 7], [IGNORE_INDEX, 6, 7]).supervised
        2
    """

    input_ids: list[int]
    labels: list[int]

    def __post_init__(self) -> None:
        if len(self.input_ids) != len(self.labels):
            raise ValueError(
                f"labels ({len(self.labels)}) must be as many as input_ids "
                f"({len(self.input_ids)}); mask a token with IGNORE_INDEX instead of leaving it out"
            )

    @property
    def supervised(self) -> int:
        """How many tokens are predicted: the first one never is, since nothing precedes it."""
        return sum(label != IGNORE_INDEX for label in self.labels[1:])

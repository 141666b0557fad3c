"""What a measurement of steps can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from tokenseek_common.cli import RunSettings, check_counts
from tokenseek_core._config import (
    DEFAULT_GRADIENT,
    DEFAULT_SELECTOR,
    GradientName,
    SelectorName,
    TokenSeekConfig,
)
from tokenseek_core.models._embedded import SMOLLM2


@dataclass(frozen=True, kw_only=True)
class ProfileSettings(RunSettings):
    """What `profile` does; the options of `tokenseek profile` are the same.

    Raises:
        InputError: A value is outside its range.

    Example:
        >>> ProfileSettings(length=256).repeats
        3
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
        check_counts({"length": self.length}, least=2)
        check_counts({"batch_size": self.batch_size, "repeats": self.repeats})
        _ = self.config

    @property
    def config(self) -> TokenSeekConfig:
        """TokenSeek's own settings."""
        return TokenSeekConfig(ratio=self.ratio, selector=self.selector, gradient=self.gradient)

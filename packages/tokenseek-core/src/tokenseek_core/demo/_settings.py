"""What a demo can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tokenseek_common import InputError
from tokenseek_common.cli import DtypeName, RunSettings, check_counts, on_unless
from tokenseek_core._config import (
    DEFAULT_GRADIENT,
    DEFAULT_SELECTOR,
    GradientName,
    SelectorName,
    TokenSeekConfig,
)
from tokenseek_core.models._embedded import SMOLLM2


@dataclass(frozen=True, kw_only=True)
class DemoSettings(RunSettings):
    """What `demo` does; the options of `tokenseek demo` are the same.

    Raises:
        InputError: A value is outside its range, or the ratio one at which TokenSeek trains
            densely.

    Example:
        >>> DemoSettings(steps=4).model
        'smollm2'
    """

    model: str = SMOLLM2
    """A folder, a hub id, or smollm2 for the embedded model."""

    ratio: float = 0.1
    """Share of the tokens that carry gradient, above 0 and below 0.6."""

    selector: SelectorName = DEFAULT_SELECTOR
    """How tokens are chosen."""

    gradient: GradientName = DEFAULT_GRADIENT
    """What they back-propagate: restart starts the loss anew from them, inject hands them the
    exact adjoint from the last block, which stays exact itself."""

    steps: int = 16
    """Optimizer steps of each fine-tuning."""

    answers: Annotated[
        bool, on_unless("Leave out the second part, an adapter that learns short answers.")
    ] = True
    """Whether an adapter learns short answers behind long prompts as well, where peft is there."""

    dtype: DtypeName = "float32"
    """Precision of the weights that are trained; bfloat16 rounds most of so small steps away."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"steps": self.steps})
        config = self.config
        if config.dense_above is not None and config.ratio >= config.dense_above:
            raise InputError(
                f"ratio ({self.ratio}) must be below {config.dense_above:g}, from where on "
                "TokenSeek itself trains densely; choose a smaller --ratio"
            )

    @property
    def config(self) -> TokenSeekConfig:
        """TokenSeek's own settings."""
        return TokenSeekConfig(ratio=self.ratio, selector=self.selector, gradient=self.gradient)

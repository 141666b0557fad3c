"""Which tokens carry gradient, as commands are asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tokenseek_common.cli import RunSettings
from tokenseek_core._config import GradientName, SelectorName, TokenSeekConfig
from tokenseek_core._instances import Instance, suited_config


@dataclass(frozen=True, kw_only=True)
class RowSettings(RunSettings):
    """What is asked for of the tokens; what is left open follows from the data.

    Example:
        >>> RowSettings().config_for([Instance(length=100, answers=12)]).answer_ratio
        1.0
    """

    ratio: float | Literal["auto"] = 0.1
    """Share of the tokens that carry gradient, in (0, 1]; where those that carry the loss have a
    share of their own, of the others. 1 trains densely; auto is the largest share up to a half
    whose steps fit --device-memory by the forecast."""

    answer_ratio: float | None = None
    """Share of the tokens that carry the loss to keep, in (0, 1]. Where at most half of the tokens
    do, as with answers behind prompts, all of them are kept, unless this, --selector or --gradient
    says otherwise."""

    selector: SelectorName | None = None
    """How tokens are chosen; by default sampled by their gradient or, where all that carry the loss
    are kept, at random."""

    gradient: GradientName | None = None
    """What they back-propagate: restart starts the loss anew from them, inject hands them the
    exact adjoint from the last block, which stays exact itself. By default inject or, where all
    that carry the loss are kept, restart."""

    @property
    def config(self) -> TokenSeekConfig:
        """TokenSeek's own settings, where the data leave them as they are; of auto, the default."""
        usual = TokenSeekConfig() if self.answer_ratio is None else TokenSeekConfig.answers()
        return replace(
            usual,
            ratio=usual.ratio if self.ratio == "auto" else self.ratio,
            answer_ratio=self.answer_ratio,
            selector=self.selector or usual.selector,
            gradient=self.gradient or usual.gradient,
        )

    @property
    def rows_open(self) -> bool:
        """Whether nothing is asked for that says which tokens are kept."""
        return self.answer_ratio is None and self.selector is None and self.gradient is None

    def config_for(self, instances: Sequence[Instance]) -> TokenSeekConfig:
        """TokenSeek's settings for these instances."""
        return suited_config(self.config, instances) if self.rows_open else self.config

"""What a user chooses: one frozen dataclass for Python and the command line alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from jaxtyping import Float
from torch import Tensor

from tokenseek_common import InputError

if TYPE_CHECKING:
    from tokenseek_core._signals import Signals

Selector = Callable[["Signals"], Float[Tensor, "b s"]]
"""Scores every token of a batch from its :class:`Signals`; the highest are kept."""

SELECTORS = ("tokenseek", "random")


@dataclass(frozen=True)
class TokenSeekConfig:
    """The settings of token seeking (which tokens) and token ditching (what they back-propagate).

    Args:
        ratio: Share of each instance's real tokens that carry gradient, in (0, 1].
        selector: How tokens are scored; a name, or a callable that scores them from the signals.
        gradient: What the kept tokens back-propagate; "restart" restarts the loss on them.
        alpha: Weight of the context score, the attention that a token receives (Eq. 3).
        beta: Weight of the gradient score at the input of the last block (Eq. 4).
        min_supervised: Supervised tokens that each instance keeps at least, where it has them.
        dense_above: Train densely at ratios from here on, where two passes cost more than they
            save; None never does.
        check: Before the first step, replay a few rows and compare them with the full pass.

    Raises:
        InputError: A value is outside its range.

    Example:
        >>> TokenSeekConfig(ratio=0.1, selector="random").ratio
        0.1
    """

    ratio: float = field(default=0.1, metadata={"help": "share of tokens that carry gradient"})
    selector: Literal["tokenseek", "random"] | Selector = "tokenseek"
    gradient: Literal["restart"] = "restart"
    alpha: float = 1.0
    beta: float = 1.0
    min_supervised: int = 1
    dense_above: float | None = 0.6
    check: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise InputError(f"ratio ({self.ratio}) must be in (0, 1]; 0.1 keeps one token in ten")
        if not callable(self.selector) and self.selector not in SELECTORS:
            raise InputError(
                f"selector ({self.selector}) must be one of {', '.join(SELECTORS)} or a callable; "
                "a callable takes Signals and returns scores of shape [b, s]"
            )
        if self.gradient != "restart":
            raise InputError(f"gradient ({self.gradient}) must be restart; leave it out")
        if self.alpha < 0 or self.beta < 0 or self.alpha + self.beta == 0:
            raise InputError(
                f"alpha, beta ({self.alpha}, {self.beta}) must be at least 0 and not both 0; "
                "only their quotient changes which tokens are kept"
            )
        if self.min_supervised < 0:
            raise InputError(
                f"min_supervised ({self.min_supervised}) must be at least 0; 0 forces none"
            )
        if self.dense_above is not None and not 0 < self.dense_above <= 1:
            raise InputError(
                f"dense_above ({self.dense_above}) must be in (0, 1] or None; "
                "None never trains densely"
            )

    @classmethod
    def paper(cls) -> TokenSeekConfig:
        """The published setting: a tenth of the tokens, both scores weighted alike."""
        return cls(ratio=0.1, selector="tokenseek", gradient="restart", alpha=1.0, beta=1.0)

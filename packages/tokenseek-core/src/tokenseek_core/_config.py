"""What a user chooses: one frozen dataclass for Python and the command line alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from tokenseek_common import InputError
from tokenseek_core._signals import Signals

Selector = Callable[[Signals], Float[Tensor, "b s"]]
"""Scores every token of a batch from its :class:`Signals`; the highest are kept."""

SelectorName = Literal[
    "tokenseek", "random", "context", "gradient", "loss", "quota", "saliency", "product", "sampled"
]
GradientName = Literal["restart", "inject"]

DEFAULT_SELECTOR: SelectorName = "sampled"
DEFAULT_GRADIENT: GradientName = "inject"


@dataclass(frozen=True)
class TokenSeekConfig:
    """The settings of token seeking (which tokens) and token ditching (what they back-propagate).

    Args:
        ratio: Share of each instance's real tokens that carry gradient, in (0, 1]; with
            `answer_ratio`, of those that carry no loss.
        answer_ratio: Share of the tokens that carry the loss, since the next token is a label, to
            keep, in (0, 1]; None draws no line between them and the others.
        selector: How tokens are scored; a name, or a callable that scores them from the signals.
        gradient: What the kept tokens back-propagate. "restart" restarts the loss on them, as the
            paper does. "inject" keeps the last blocks, the final norm and the head exact, over all
            tokens, and gives the kept ones the exact adjoint that arrives there.
        exact_blocks: Last blocks that "inject" keeps exact.
        alpha: Weight of the context score, the attention that a token receives (Eq. 3).
        beta: Weight of the gradient score at the input of the last block (Eq. 4).
        context_share: Share of the budget that selector "quota" gives to the context score.
        min_supervised: Supervised tokens that each instance keeps at least, where it has them.
        dense_above: Train densely where the share of a step's tokens that would be kept is this
            large, since two passes cost more than they save; None never does.
        logits: Whether a step returns the logits of the kept tokens. Without them the loss is
            computed in chunks of rows, so that they never exist whole; "inject" never has them.
        kv_offload: Whether the recorded keys and values lie in pinned host memory until the layer
            that attends to them runs, and runs again in the backward pass. The gradient is the
            same; on a CPU nothing is saved.
        check: Before the first step, replay a few rows and compare them with the full pass.

    Raises:
        InputError: A value is outside its range.

    Example:
        >>> TokenSeekConfig(ratio=0.1, selector="random").ratio
        0.1
    """

    ratio: float = field(default=0.1, metadata={"help": "share of tokens that carry gradient"})
    answer_ratio: float | None = None
    selector: SelectorName | Selector = DEFAULT_SELECTOR
    gradient: GradientName = DEFAULT_GRADIENT
    exact_blocks: int = 1
    alpha: float = 1.0
    beta: float = 1.0
    context_share: float = 0.2
    min_supervised: int = 1
    dense_above: float | None = 0.6
    logits: bool = True
    kv_offload: bool = False
    check: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise InputError(f"ratio ({self.ratio}) must be in (0, 1]; 0.1 keeps one token in ten")
        if self.answer_ratio is not None and not 0 < self.answer_ratio <= 1:
            raise InputError(
                f"answer_ratio ({self.answer_ratio}) must be in (0, 1] or None; "
                "1 keeps every token that carries the loss"
            )
        names = get_args(SelectorName)
        if not callable(self.selector) and self.selector not in names:
            raise InputError(
                f"selector ({self.selector}) must be one of {', '.join(names)} or a callable; "
                "a callable takes Signals and returns scores of shape [b, s]"
            )
        if self.gradient not in get_args(GradientName):
            raise InputError(
                f"gradient ({self.gradient}) must be restart or inject; restart is the paper's"
            )
        if self.exact_blocks < 1:
            raise InputError(
                f"exact_blocks ({self.exact_blocks}) must be at least 1; 1 costs the least"
            )
        if not 0 <= self.context_share <= 1:
            raise InputError(
                f"context_share ({self.context_share}) must be in [0, 1]; "
                "0.2 gives a fifth of the budget to the context score"
            )
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

    @property
    def keeps_every_loss(self) -> bool:
        """Whether a step keeps all tokens that carry the loss, so that each one's is known."""
        return self.answer_ratio == 1 and self.gradient == "restart"

    @classmethod
    def paper(cls) -> TokenSeekConfig:
        """The published setting: a tenth of the tokens, both scores weighted alike."""
        return cls(ratio=0.1, selector="tokenseek", gradient="restart", alpha=1.0, beta=1.0)

    @classmethod
    def answers(cls, ratio: float = 0.1) -> TokenSeekConfig:
        """For answers behind prompts: all tokens that carry the loss, and a share of the others.

        Nothing is scored: pass one needs no graph and no head, and the loss is the dense one.
        Its gradient is the dense one too, but for what flows through the keys and values of prompt
        tokens that are not drawn.

        Args:
            ratio: Share of the tokens that carry no loss, drawn at random.
        """
        return cls(
            ratio=ratio, answer_ratio=1.0, selector="random", gradient="restart", logits=False
        )

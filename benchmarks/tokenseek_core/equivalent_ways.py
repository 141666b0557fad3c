"""The ways to train that are compared in dense steps: the package's, and each lever by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from answers_draws import stratified
from torch import Tensor

from tokenseek_core import Signals, TokenSeekConfig
from tokenseek_core._config import Selector, SelectorName

DENSE, FROZEN = "dense", "frozen"
RATIOS = {"r10": 0.1, "r30": 0.3}


@dataclass(frozen=True)
class Way:
    """A way to train.

    Args:
        label: How tables call it.
        config: TokenSeek's settings, None for dense training.
        like: The way whose learning rate it takes; empty for one of its own.
        rate: Learning rate to try first, where it has its own.
        rate_factor: What the rate is multiplied by.
        beta2: How much AdamW's second moment keeps.
        below: Share of the rate that all blocks but the last learn at.
        ratio: Share of tokens by the share of the steps that are done, where it changes.
        instances: Share of each batch's instances that it sees.
    """

    label: str
    config: TokenSeekConfig | None
    like: str = ""
    rate: float = 2e-3
    rate_factor: float = 1.0
    beta2: float = 0.999
    below: float = 1.0
    ratio: Callable[[float], float] | None = None
    instances: float = 1.0


@dataclass
class NotTwice:
    """A uniform draw that leaves out the positions of the step before, while others are left."""

    before: Tensor = field(default_factory=lambda: torch.zeros(0))
    share: float = 0.1

    def __call__(self, signals: Signals) -> Tensor:
        """Scores of one step, which remember what will be kept."""
        scores = torch.rand(signals.valid.shape)
        if self.before.shape == scores.shape:
            scores -= self.before
        kept = scores.topk(-(-int(self.share * scores.shape[1] * 10) // 10), dim=1).indices
        self.before = torch.zeros_like(scores).scatter(1, kept, 1.0)
        return scores


def unweighted(signals: Signals) -> Tensor:
    """The draw of "sampled", whose tokens then count alike."""
    by_gradient = signals.gradient / signals.gradient.sum(1, keepdim=True)
    log_p = (0.9 * by_gradient + 0.1 / signals.valid.sum(1, keepdim=True)).log()
    return log_p - torch.log(-torch.log(torch.rand(log_p.shape).clamp(min=1e-30)))


def rising(low: float, high: float) -> Callable[[float], float]:
    """A ratio that goes from one to the other in a straight line."""
    return lambda done: low + (high - low) * done


def levers_of(name: str, ratio: float) -> dict[str, Way]:
    """What may change how much a share of the tokens teaches, each by itself."""
    base = TokenSeekConfig(ratio=ratio)

    def drawn(selector: SelectorName | Selector) -> TokenSeekConfig:
        return replace(base, selector=selector)

    half = 0.5 * ratio
    found = {
        "slower": Way(
            "blocks but the last at an eighth of twice the rate", base, rate_factor=2.0, below=0.125
        ),
        "beta2-99": Way("second moment: 0.99", base, beta2=0.99),
        "beta2-9999": Way("second moment: 0.9999", base, beta2=0.9999),
        "double-rate": Way("twice the learning rate", base, rate_factor=2.0),
        "half-rate": Way("half the learning rate", base, rate_factor=0.5),
        "exact-2": Way("two blocks exact", replace(base, exact_blocks=2)),
        "uniform": Way("uniform draw", drawn("random")),
        "unweighted": Way("the same draw, all kept tokens count alike", drawn(unweighted)),
        "stratified": Way("uniform draw, evenly over positions", drawn(stratified)),
        "not-twice": Way("uniform draw, no position twice in a row", drawn(NotTwice(share=ratio))),
        "rising": Way(
            "ratio from half to one and a half of it", base, ratio=rising(half, 3 * half)
        ),
        "falling": Way("ratio from one and a half to half", base, ratio=rising(3 * half, half)),
    }
    return {f"{name}-{lever}": replace(way, like=name) for lever, way in found.items()}


MAIN = {
    "dense-slow": Way(
        "dense, blocks but the last at a quarter of the rate", None, below=0.25, rate=4e-3
    ),
    FROZEN: Way("dense, blocks but the last frozen", None, below=0.0, rate=4e-3),
    "dense-half": Way("dense, half of the instances", None, rate=4e-3, instances=0.5),
    "dense-eighth": Way("dense, an eighth of the instances", None, rate=4e-3, instances=0.125),
    **{
        name: Way(f"r = {ratio}, default", TokenSeekConfig(ratio=ratio))
        for name, ratio in RATIOS.items()
    },
    **{
        f"{name}-slow": Way(
            f"r = {ratio}, default, blocks but the last at a quarter of the rate",
            TokenSeekConfig(ratio=ratio),
            below=0.25,
            rate=4e-3,
        )
        for name, ratio in RATIOS.items()
    },
    **{
        f"{name}-restart-random": Way(
            f"r = {ratio}, uniform draw, loss restarted",
            TokenSeekConfig(ratio=ratio, selector="random", gradient="restart"),
        )
        for name, ratio in RATIOS.items()
    },
    "r10-paper": Way("r = 0.1, the paper's", TokenSeekConfig.paper(), rate=1e-3),
    "r30-paper": Way(
        "r = 0.3, the paper's", replace(TokenSeekConfig.paper(), ratio=0.3), rate=1e-3
    ),
}
LEVERS = {
    lever: way for name, ratio in RATIOS.items() for lever, way in levers_of(name, ratio).items()
}
WAYS = {DENSE: Way("dense", None, rate=4e-3), **MAIN, **LEVERS}

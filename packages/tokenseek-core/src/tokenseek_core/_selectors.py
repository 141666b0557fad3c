"""The named selectors: what each one looks at, and how it scores a token.

Shapes: `b` batch, `s` sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._scores import context_term, gradient_term
from tokenseek_core._signals import Signals


def tokenseek(signals: Signals, config: TokenSeekConfig) -> Float[Tensor, "b s"]:
    """The paper's: attention received and gradient magnitude together (Eq. 5)."""
    normalized = signals.by_instance(partial(gradient_term, beta=config.beta), signals.gradient)
    return context_term(signals.context, alpha=config.alpha) + normalized


def context(signals: Signals, config: TokenSeekConfig) -> Float[Tensor, "b s"]:
    """Attention received alone (Eq. 3)."""
    return signals.context


def gradient(signals: Signals, config: TokenSeekConfig) -> Float[Tensor, "b s"]:
    """Gradient magnitude alone (Eq. 4)."""
    return signals.gradient


def loss(signals: Signals, config: TokenSeekConfig) -> Float[Tensor, "b s"]:
    """The loss of each row: no backward at all."""
    return signals.token_loss


def quota(signals: Signals, config: TokenSeekConfig) -> Float[Tensor, "b s"]:
    """A share of the budget by attention received, the rest by gradient magnitude.

    For any budget k, the best k scores are the union of the first share * x tokens by context and
    the first (1 - share) * x by gradient, with x as large as k allows.
    """
    share = config.context_share
    by_context = (signals.by_instance(ranks, signals.context) + 1) / max(share, 1e-9)
    by_gradient = (signals.by_instance(ranks, signals.gradient) + 1) / max(1 - share, 1e-9)
    return -torch.minimum(by_context, by_gradient)


def saliency(signals: Signals, config: TokenSeekConfig) -> Float[Tensor, "b s"]:
    """|G_j| |z_j|: the norm of what a row adds to the gradient of a weight that reads it."""
    norms = [x.square().sum(-1).sqrt() for x in (signals.adjoint, signals.state)]
    return norms[0] * norms[1]


def product(signals: Signals, config: TokenSeekConfig) -> Float[Tensor, "b s"]:
    """I2 * sqrt(I1): tokens with gradient of their own that others read as well.

    Gradient flows between kept tokens only, so one that the kept ones read is worth more than its
    own gradient says. A product needs no common scale, where the sum of Eq. 5 is mostly context.
    """
    return signals.gradient * signals.context.sqrt()


def sampling_log_p(signals: Signals) -> Float[Tensor, "b s"]:
    """Log-probability of "sampled": nine tenths by gradient magnitude, one tenth uniform.

    The uniform part keeps every token possible, and its weight bounded.
    """
    return signals.by_instance(log_probability, signals.gradient)


def log_probability(
    gradient: Float[Tensor, "b s"], valid: Bool[Tensor, "b s"]
) -> Float[Tensor, "b s"]:
    """Logarithm of each token's share of its row."""
    real = valid.to(gradient.dtype)
    gradient = gradient * real
    total = gradient.sum(1, keepdim=True)
    uniform = real / real.sum(1, keepdim=True).clamp(min=1)
    by_gradient = torch.where(total > 0, gradient / total, uniform)
    return (0.9 * by_gradient + 0.1 * uniform).log()  # -inf for padding


def ranks(scores: Float[Tensor, "b s"], valid: Bool[Tensor, "b s"]) -> Int[Tensor, "b s"]:
    """Rank of each token in its instance, 0 for the highest score; padding comes last."""
    order = scores.masked_fill(~valid, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1)


NAMED: Mapping[str, Callable[[Signals, TokenSeekConfig], Float[Tensor, "b s"]]] = MappingProxyType(
    {
        "tokenseek": tokenseek,
        "context": context,
        "gradient": gradient,
        "loss": loss,
        "quota": quota,
        "saliency": saliency,
        "product": product,
    }
)
"""The selectors that look at signals; "random" looks at none, "sampled" draws."""

NO_GRADIENT = frozenset({"random", "context", "loss"})
"""Selectors that need no backward of their own."""

NO_CONTEXT = frozenset({"random", "sampled", "gradient", "loss", "saliency"})
"""Selectors that need no attention maps."""

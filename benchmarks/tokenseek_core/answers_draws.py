"""Other draws than uniform of the prompt's tokens, beside all tokens that carry the loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tokenseek_core import Signals, TokenSeekConfig

GOLDEN = (math.sqrt(5) - 1) / 2


def loss_rows(signals: Signals) -> Tensor:
    """The tokens that carry the loss, alone."""
    return (signals.targets != -100).float()


def stratified(signals: Signals) -> Tensor:
    """Evenly over the positions: however many are kept, no stretch of the prompt is left out.

    Multiples of the golden ratio, each instance with a shift of its own.
    """
    batch, length = signals.valid.shape
    shift = torch.rand((batch, 1), dtype=torch.float64)
    return ((GOLDEN * torch.arange(length, dtype=torch.float64) + shift) % 1).float()


def drawn(ratio: float, selector: object, gradient: str = "restart") -> TokenSeekConfig:
    """All tokens that carry the loss, and a share of the others that a selector draws."""
    return TokenSeekConfig(
        ratio=ratio,
        answer_ratio=1.0,
        selector=selector,  # type: ignore[arg-type]
        gradient=gradient,  # type: ignore[arg-type]
        logits=False,
    )


DRAWS = {
    f"{name}-{percent}": drawn(percent / 100, selector, gradient)
    for percent in (5, 10)
    for name, selector, gradient in (
        ("stratified", stratified, "restart"),
        ("gradient", "gradient", "restart"),
        ("sampled", "sampled", "restart"),
        ("sampled-inject", "sampled", "inject"),
    )
}

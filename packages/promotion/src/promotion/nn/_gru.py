"""Convolutional gated recurrent unit with one context for all steps, and what reads its state."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def correction(hidden: int, channels: int) -> nn.Sequential:
    """Layers that read a correction of some channels from a state."""
    return nn.Sequential(
        nn.Conv2d(hidden, hidden, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, channels, 3, padding=1),
    )


class ConvGRU(nn.Module):
    """A gated recurrent unit on maps.

        z = sigmoid(W_z [h, x] + c_z),   r = sigmoid(W_r [h, x] + c_r)
        q = tanh(W_q [r h, x] + c_q),    h <- (1 - z) h + z q

    The context's part c is computed once for all steps.

    Args:
        hidden: Channels of the state h.
        entering: Channels of the input x.
        context: Channels of the context.
    """

    def __init__(self, hidden: int, entering: int, context: int) -> None:
        super().__init__()
        self.context = nn.Conv2d(context, 3 * hidden, 3, padding=1)
        self.gates = nn.Conv2d(hidden + entering, 2 * hidden, 3, padding=1, bias=False)
        self.candidate = nn.Conv2d(hidden + entering, hidden, 3, padding=1, bias=False)

    def prepare(self, context: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor]:
        """What the context adds to the gates and to the candidate, at every step."""
        hidden = self.candidate.out_channels
        gates, candidate = self.context(context).split((2 * hidden, hidden), 1)
        return gates, candidate

    def forward(
        self,
        state: Float[Tensor, "b s h w"],
        entering: Float[Tensor, "b e h w"],
        prepared: tuple[Tensor, Tensor],
    ) -> Float[Tensor, "b s h w"]:
        """Take one step."""
        for_gates, for_candidate = prepared
        gates = self.gates(torch.cat([state, entering], 1)) + for_gates
        update, reset = gates.sigmoid().chunk(2, 1)
        candidate = self.candidate(torch.cat([reset * state, entering], 1)) + for_candidate
        return torch.lerp(state, candidate.tanh(), update)

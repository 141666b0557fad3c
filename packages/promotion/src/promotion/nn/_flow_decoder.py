"""Flow decoder: a matching start, then recurrent lookups, each followed by a small correction.

Shapes: `b` batch, `d` channels, `h w` cells; a picture has `STRIDE` pixels to a cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promotion.nn._correlation import correlation
from promotion.nn._encoder import STRIDE
from promotion.nn._gru import ConvGRU, correction
from promotion.nn._matching import GlobalMatching, grid
from promotion.nn._precision import exact
from promotion.nn._rematching import rematched
from promotion.nn._upsample import ConvexUpsampler


@dataclass(frozen=True)
class DecodedFlow:
    """Flow of the first frame, and what the decoder knows of its motion.

    Args:
        flows: In pixels at full size: of the start and of every step in training, else of the last.
        coarse: The last one, in cells.
        state: Of the recurrent unit.
    """

    flows: list[Float[Tensor, "b 2 i j"]]
    coarse: Float[Tensor, "b 2 h w"]
    state: Float[Tensor, "b s h w"]


class FlowDecoder(nn.Module):
    """Features of two frames to flow.

    Args:
        channels: d.
        hidden: Channels of the recurrent state.
        radius: Cells to each side that a lookup covers.
        levels: Of the correlation pyramid.
        matching: Window of the matching start, in cells to each side; None starts at zero.
    """

    def __init__(
        self, channels: int, *, hidden: int, radius: int, levels: int, matching: int | None
    ) -> None:
        super().__init__()
        self.radius, self.levels = radius, levels
        self.match = None if matching is None else GlobalMatching(matching)
        self.start = nn.Conv2d(channels, hidden, 1)
        values = levels * (2 * radius + 1) ** 2
        self.similar = nn.Conv2d(values, 64, 1)
        self.moved = nn.Conv2d(2, 32, 3, padding=1)
        self.motion = nn.Conv2d(64 + 32, hidden - 2, 3, padding=1)
        self.gru = ConvGRU(hidden, hidden, channels)
        self.delta = correction(hidden, 2)
        self.enlarge = ConvexUpsampler(hidden)

    def forward(
        self,
        first: Float[Tensor, "b d h w"],
        second: Float[Tensor, "b d h w"],
        *,
        iterations: int,
        start: Float[Tensor, "b 2 h w"] | None = None,
        rematch: bool = False,
    ) -> DecodedFlow:
        """Decode.

        Args:
            first: Features of the first frame.
            second: Features of the second.
            iterations: Lookups and corrections.
            start: Where to begin, in cells; None matches, if the decoder does, or begins at zero.
            rematch: Match where that fits better than the start, if the decoder matches.
        """
        similarity = correlation(first, second, radius=self.radius, levels=self.levels)
        places = grid(*first.shape[-2:], like=exact(first))
        state = self.start(first).tanh()
        context = self.gru.prepare(first.relu())
        if start is None:
            start = self.match(first, second) if self.match else torch.zeros_like(first[:, :2])
        elif rematch and self.match:
            start = rematched(self.match, first, second, start)
        flow = exact(start)
        flows = [self.upsample(flow, state)] if self.training else []
        for step in range(iterations):
            flow = flow.detach()
            motion = self.look(similarity(places + flow), flow)
            state = self.gru(state, motion, context)
            flow = flow + exact(self.delta(state))
            if self.training or step == iterations - 1:
                flows.append(self.upsample(flow, state))
        return DecodedFlow(flows, flow, state)

    def look(
        self, similar: Float[Tensor, "b q h w"], flow: Float[Tensor, "b 2 h w"]
    ) -> Float[Tensor, "b s h w"]:
        """What a lookup found, and where."""
        similar, flow = (each.to(self.moved.weight.dtype) for each in (similar, flow))
        seen = torch.cat([self.similar(similar), self.moved(flow)], 1).relu()
        return torch.cat([self.motion(seen).relu(), flow], 1)

    def upsample(
        self, flow: Float[Tensor, "b 2 h w"], state: Float[Tensor, "b s h w"]
    ) -> Float[Tensor, "b 2 i j"]:
        """Flow in cells to flow in pixels at full size."""
        pixels: Tensor = STRIDE * self.enlarge(flow, state)
        return pixels

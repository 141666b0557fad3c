"""Depth decoder: recurrent refinement of inverse depth, from one frame or also from its motion."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promotion.nn._gru import ConvGRU, correction
from promotion.nn._precision import exact
from promotion.nn._upsample import ConvexUpsampler

NEAREST, FARTHEST = 0.1, 100.0
"""Metres between which every depth lies."""

FIRST_LOGIT = -4.0
"""Where the refinement starts: about five metres."""


class DepthDecoder(nn.Module):
    """Features of a frame to depth.

        1 / z = 1 / z_max + (1 / z_min - 1 / z_max) sigmoid(up(q)),    q <- q + head(h)

    Args:
        channels: Of the features.
        hidden: Channels of the recurrent state, and of the motion's where it is given.
        steps: Of the refinement.
    """

    def __init__(self, channels: int, *, hidden: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.start = nn.Conv2d(channels, hidden, 1)
        self.motion = nn.Conv2d(hidden + 2, hidden, 1)
        self.logit = nn.Conv2d(1, hidden, 3, padding=1)
        self.gru = ConvGRU(hidden, hidden, channels + hidden)
        self.delta = correction(hidden, 1)
        self.enlarge = ConvexUpsampler(hidden)

    def forward(
        self,
        features: Float[Tensor, "b d h w"],
        motion: Float[Tensor, "b m h w"] | None,
        moving: Float[Tensor, "b"] | None = None,
    ) -> list[Float[Tensor, "b i j"]]:
        """Decode.

        Args:
            features: Of the frame.
            motion: Its flow in cells and the flow decoder's state; None where there is no partner.
            moving: 1 for pictures whose motion is to be used, 0 for those without; None is all.

        Returns:
            Depth in metres at full size: of every step in training, else of the last.
        """
        state = self.start(features).tanh()
        if motion is None:
            seen = torch.zeros_like(state)
        else:
            seen = self.motion(motion.to(features.dtype)).relu()
            if moving is not None:
                seen = seen * moving[:, None, None, None]
        context = self.gru.prepare(torch.cat([features.relu(), seen], 1))
        logit = torch.full_like(exact(features[:, :1]), FIRST_LOGIT)
        depths = []
        for step in range(self.steps):
            state = self.gru(state, self.logit(logit.to(features.dtype)).relu(), context)
            logit = logit + exact(self.delta(state))
            if self.training or step == self.steps - 1:
                depths.append(self.upsample(logit, state))
        return depths

    def upsample(
        self, logit: Float[Tensor, "b 1 h w"], state: Float[Tensor, "b s h w"]
    ) -> Float[Tensor, "b i j"]:
        """Refined logits to metres at full size."""
        share: Tensor = self.enlarge(logit, state).sigmoid()[:, 0]
        return 1 / (1 / FARTHEST + (1 / NEAREST - 1 / FARTHEST) * share)

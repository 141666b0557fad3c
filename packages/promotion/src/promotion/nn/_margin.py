"""Large-margin projection: tokens on the unit sphere, close to their prototype, far from others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

TEMPERATURE = 0.1
MARGIN = 0.1
COMPACTNESS = 0.1
"""Weight of (1 - cosine)^2 with the own prototype."""


class LargeMarginProjection(nn.Module):
    """``e = normalize(W_2 W_1 LN(z))``, a chain of linear maps onto the unit sphere.

    Args:
        channels: Of the tokens.
        dimensions: Of the sphere's space.
    """

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.chain = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, channels, bias=False),
            nn.Linear(channels, dimensions, bias=False),
        )

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n p"]:
        """Project tokens."""
        return F.normalize(self.chain(tokens), dim=-1)


def margin_loss(
    cosines: Float[Tensor, "b n k"], assigned: Int[Tensor, "b n"]
) -> Float[Tensor, "b"]:
    """Loss that pulls each token to its prototype y by a margin m, and away from the others.

        - log softmax_y((cos_k - m [k = y]) / tau)  +  0.1 (1 - cos_y)^2

    Args:
        cosines: Of tokens with prototypes.
        assigned: The prototype of each token.

    Returns:
        The mean over the tokens of each picture.

    Source:
        An additive cosine margin, with the contrast and compactness of Zhou et al., "Rethinking
        Semantic Segmentation: A Prototype View" (2022).
    """
    own = F.one_hot(assigned, cosines.shape[-1]).to(cosines.dtype)
    logits = (cosines - MARGIN * own) / TEMPERATURE
    contrast = F.cross_entropy(logits.transpose(1, 2), assigned, reduction="none")
    nearest = torch.gather(cosines, -1, assigned[..., None])[..., 0]
    return (contrast + COMPACTNESS * (1 - nearest).square()).mean(-1)

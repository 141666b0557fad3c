"""Flow, depth and occlusion of a drawn scene, exact at the centre of each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from promotion.scenes._config import SceneConfig
from promotion.scenes._drawn import DrawnScene
from promotion.scenes._planes import first_met

_ROUNDING = 1e-6  # pixels: a row that does not move must not leave the frame


@dataclass(frozen=True)
class Truth:
    """What `Scene` has of the same names, in double precision."""

    flow: Float[np.ndarray, "2 h w"]
    depth1: Float[np.ndarray, "h w"]
    depth2: Float[np.ndarray, "h w"]
    occlusion: Bool[np.ndarray, "h w"]


def exact_truth(config: SceneConfig, drawn: DrawnScene) -> Truth:
    """Follow what each pixel shows to where it lands, and look at what is nearest there."""
    x = np.arange(config.width, dtype=np.float64)[None]
    y = np.arange(config.height, dtype=np.float64)[:, None]
    met, inverse_depth1 = first_met(drawn.first, x, y)
    _, inverse_depth2 = first_met(drawn.second, x, y)
    # Each plane moves as one, by K (A + b n^T / d) K^-1, which is K M2 times (K M1)^-1.
    homographies = (drawn.second.projections @ drawn.first.inverses)[met]
    pixels = np.stack(np.broadcast_arrays(x, y, 1.0), axis=-1)
    x2, y2, stretch = np.moveaxis(np.einsum("hwij,hwj->hwi", homographies, pixels), -1, 0)
    x2, y2 = x2 / stretch, y2 / stretch  # H p = (z2 / z1) p2

    _, nearest = first_met(drawn.second, x2.reshape(1, -1), y2.reshape(1, -1))
    hidden = nearest.reshape(met.shape) > (1 + 1e-9) * inverse_depth1 / stretch
    last_x, last_y = config.width - 1 + _ROUNDING, config.height - 1 + _ROUNDING
    outside = (np.minimum(x2, y2) < -_ROUNDING) | (x2 > last_x) | (y2 > last_y)
    return Truth(
        np.stack([x2 - x, y2 - y]), 1 / inverse_depth1, 1 / inverse_depth2, hidden | outside
    )

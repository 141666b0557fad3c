"""A procedural scene: two frames and their exact truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from promotion.scenes._config import SceneConfig
from promotion.scenes._drawn import draw_world, open_shutter
from promotion.scenes._pictures import draw_air, draw_exposures, picture
from promotion.scenes._truth import exact_truth


@dataclass(frozen=True)
class Scene:
    """Two frames and their truth, exact at the centre of each pixel.

    Args:
        image1: First frame, in [0, 1].
        image2: Second frame.
        flow: Motion from the first frame to the second, in pixels (right, down).
        flow_valid: Where the motion is known: everywhere.
        depth1: Depth of the first frame, in metres.
        depth2: Depth of the second frame, in metres.
        occlusion: Which pixels of the first frame are hidden in the second: behind something, or
            outside of [0, w - 1] x [0, h - 1].
        intrinsics: Of the camera, for the first frame.
        intrinsics2: For the second, which differs where the camera zooms.
    """

    image1: Float[Tensor, "3 h w"]
    image2: Float[Tensor, "3 h w"]
    flow: Float[Tensor, "2 h w"]
    flow_valid: Bool[Tensor, "h w"]
    depth1: Float[Tensor, "h w"]
    depth2: Float[Tensor, "h w"]
    occlusion: Bool[Tensor, "h w"]
    intrinsics: Float[Tensor, "3 3"]
    intrinsics2: Float[Tensor, "3 3"]


def render_scene(config: SceneConfig, seed: int) -> Scene:
    """Draw a scene and look at it before and after it moves.

    Textured planes n.X = d move rigidly, X2 = A X + b, so that a pixel moves by the homography
    K (A + b n^T / d) K^-1. The shapes of the planes are known exactly, and both frames are seen
    directly: neither is a warped copy of the other.

    Args:
        config: What scenes look like.
        seed: Which of them; the same seed and config give the same scene.

    Returns:
        The frames and their truth.

    Example:
        >>> scene = render_scene(SceneConfig(height=64, width=96), seed=0)
        >>> scene.flow.shape
        torch.Size([2, 64, 96])
    """
    rng = np.random.default_rng(seed)
    world = draw_world(config, rng)
    drawn = world.moved(1.0)
    truth = exact_truth(config, drawn)
    air = draw_air(config, rng, drawn.layout.planes[0].pose[2, 2])
    exposures = draw_exposures(config, rng)
    opens = open_shutter(config, world, rng)
    images = [
        picture(config, world.layout, seen, air, exposure, rng)
        for seen, exposure in zip(opens, exposures, strict=True)
    ]
    return Scene(
        image1=torch.from_numpy(images[0]),
        image2=torch.from_numpy(images[1]),
        flow=torch.from_numpy(truth.flow.astype(np.float32)),
        flow_valid=torch.ones(config.height, config.width, dtype=torch.bool),
        depth1=torch.from_numpy(truth.depth1.astype(np.float32)),
        depth2=torch.from_numpy(truth.depth2.astype(np.float32)),
        occlusion=torch.from_numpy(truth.occlusion),
        intrinsics=torch.from_numpy(drawn.first.intrinsics.astype(np.float32)),
        intrinsics2=torch.from_numpy(drawn.second.intrinsics.astype(np.float32)),
    )

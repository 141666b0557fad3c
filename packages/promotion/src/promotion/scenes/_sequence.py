"""A procedural scene in many frames, with the exact truth of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from promotion.scenes._config import SceneConfig
from promotion.scenes._drawn import draw_world
from promotion.scenes._pictures import draw_air, draw_exposures, picture
from promotion.scenes._truth import exact_truth
from tokenseek_common import InputError


@dataclass(frozen=True)
class SceneSequence:
    """Frames, and where each pixel of the first is in them; exact at the centre of each pixel.

    Args:
        images: In [0, 1].
        flows: Motion from the first frame to each, in pixels (right, down); of the first itself 0.
        occlusions: Which pixels of the first frame are hidden in each, as in `Scene`.
        intrinsics: Of the camera, for the first frame.
    """

    images: Float[Tensor, "t 3 h w"]
    flows: Float[Tensor, "t 2 h w"]
    occlusions: Bool[Tensor, "t h w"]
    intrinsics: Float[Tensor, "3 3"]


def render_sequence(config: SceneConfig, seed: int, *, frames: int) -> SceneSequence:
    """Draw a scene that moves evenly, and look at it many times with one exposure.

    Its motion from the first frame to the last is that of `render_scene`, and so are both frames
    up to exposure and noise.

    Args:
        config: What scenes look like; `motion` is that from the first frame to the last.
        seed: Which of them.
        frames: How many, at least 2.

    Raises:
        InputError: There are fewer than two frames.

    Example:
        >>> render_sequence(SceneConfig(), seed=0, frames=8).images.shape
        torch.Size([8, 3, 96, 128])
    """
    if frames < 2:
        raise InputError(f"frames ({frames}) must be at least 2; raise it")
    rng = np.random.default_rng(seed)
    world = draw_world(config, rng)
    air = draw_air(config, rng, world.layout.planes[0].pose[2, 2])
    exposure, _ = draw_exposures(config, rng)
    steps = [world.moved(step / (frames - 1)) for step in range(frames)]
    truths = [exact_truth(config, step) for step in steps]
    images = [picture(config, world.layout, [step.second], air, exposure, rng) for step in steps]
    return SceneSequence(
        images=torch.from_numpy(np.stack(images)),
        flows=torch.from_numpy(np.stack([truth.flow for truth in truths]).astype(np.float32)),
        occlusions=torch.from_numpy(np.stack([truth.occlusion for truth in truths])),
        intrinsics=torch.from_numpy(world.layout.intrinsics.astype(np.float32)),
    )

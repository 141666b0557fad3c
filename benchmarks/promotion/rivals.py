"""The classical methods that ours is measured beside, on grey pictures, as OpenCV has them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from promotion.datasets import Sample

cv2.setNumThreads(1)


def dis(sample: Sample, *, finest: int | None = None) -> Float[Tensor, "2 h w"]:
    """Dense inverse search, preset medium; `finest` 0 goes on to single pixels."""
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if finest is not None:
        method.setFinestScale(finest)
    return as_flow(method.calc(grey(sample.image1), grey(sample.image2), None))


def farneback(sample: Sample) -> Float[Tensor, "2 h w"]:
    """Polynomial expansion, with the settings of OpenCV's own example."""
    frames = grey(sample.image1), grey(sample.image2)
    return as_flow(cv2.calcOpticalFlowFarneback(*frames, None, 0.5, 3, 15, 3, 5, 1.2, 0))


def no_motion(sample: Sample) -> Float[Tensor, "2 h w"]:
    """Zero everywhere."""
    return torch.zeros_like(sample.flow)


RIVALS: dict[str, Callable[[Sample], Tensor]] = {
    "DIS": dis,
    "DIS, finest": lambda sample: dis(sample, finest=0),
    "Farneback": farneback,
    "no motion": no_motion,
}
"""By the name that tables give them."""


def grey(image: Float[Tensor, "3 h w"]) -> np.ndarray:
    """A picture as OpenCV's methods take it: grey, of 8 bits."""
    picture = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    converted: np.ndarray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return converted


def as_flow(found: np.ndarray) -> Float[Tensor, "2 h w"]:
    """OpenCV's `[h, w, 2]` as ours."""
    return torch.tensor(found).permute(2, 0, 1)

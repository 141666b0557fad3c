"""Chance in the colours of frames."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from kornia import enhance
from torch import Tensor

from promotion.datasets._augment_config import AugmentConfig
from promotion.datasets._chance import uniform

_Operation = Callable[[Tensor, float], Tensor]

_OPERATIONS: dict[str, _Operation] = {
    "brightness": enhance.adjust_brightness_accumulative,
    "contrast": enhance.adjust_contrast_with_mean_subtraction,
    "saturation": enhance.adjust_saturation_with_gray_subtraction,
    "hue": enhance.adjust_hue,
}


def jitter(
    frames: Float[Tensor, "3 h w"], config: AugmentConfig, generator: torch.Generator
) -> Float[Tensor, "3 h w"]:
    """Change brightness, contrast, saturation and hue, in an order of chance."""
    names = list(_OPERATIONS)
    for position in torch.randperm(len(names), generator=generator).tolist():
        name = names[position]
        amount = getattr(config, name)
        if name == "hue":
            factor = uniform(-amount, amount, generator) * 2 * math.pi
        else:
            factor = uniform(1 - amount, 1 + amount, generator)
        if amount > 0:
            frames = _OPERATIONS[name](frames, factor)
    return frames.clamp(0, 1)

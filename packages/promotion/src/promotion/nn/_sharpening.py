"""Softmax over more than it was trained on."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def sharpening(count: int | torch.SymInt, trained: int, *, like: Tensor) -> Float[Tensor, ""]:
    """What the logits of a softmax over many are multiplied by, so that it stays as sharp.

        max(1, log(count) / log(trained))

    Args:
        count: Over how many it runs; a symbol in an export.
        trained: Over how many it ran in training.
        like: Of what type and device.
    """
    exact = torch.promote_types(like.dtype, torch.float32)
    logarithm = torch.full((), count, dtype=exact, device=like.device).log()
    return (logarithm / math.log(trained)).clamp_min(1).to(like.dtype)

"""Which tokens the router may look at.

Shapes: `b` batch, `n` tokens.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

IGNORED = -100


def before_labels(real: Bool[Tensor, "b n"], labels: Int[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
    """The real tokens before the first that is to be predicted.

    Where there is none, the first real token, which every prediction may see. Where nothing is to
    be predicted, all real tokens.

    Args:
        real: What is not padding.
        labels: The targets, unshifted; -100 where there is none.
    """
    before = real & ((labels != IGNORED).cumsum(1) == 0)
    first = real & (real.cumsum(1) == 1)
    return torch.where(before.any(1, keepdim=True), before, first)


def is_bare(real: Bool[Tensor, "b n"], labels: Int[Tensor, "b n"]) -> Bool[Tensor, " b"]:
    """The rows without a prompt: all is to be predicted, but for the first token, which cannot be.

    Args:
        real: What is not padding.
        labels: The targets, unshifted; -100 where there is none.
    """
    targets = labels != IGNORED
    prompt = real & (targets.cumsum(1) == 0)
    return targets.any(1) & (prompt.sum(1) <= 1)


def without_prefix(
    real: Bool[Tensor, "b n"], labels: Int[Tensor, "b n"], share: float
) -> Int[Tensor, "b n"]:
    """The targets, but none in the first share of a row without a prompt, which is its prompt then.

    Args:
        real: What is not padding.
        labels: The targets, unshifted; -100 where there is none.
        share: How much of the real tokens, rounded up; the last of them stays a target.
    """
    count = real.sum(1, keepdim=True)  # [b, 1]
    prefix = real & (real.cumsum(1) <= (share * count).ceil().clamp(max=count - 1))
    return labels.masked_fill(prefix & is_bare(real, labels)[:, None], IGNORED)


def before_position(real: Bool[Tensor, "b n"], end: int) -> Bool[Tensor, "b n"]:
    """The real tokens of the first `end` columns: a prompt, whatever was generated after it."""
    return real & (torch.arange(real.shape[1], device=real.device) < end)


def expanded(mask: Shaped[Tensor, "rows n"], b: int, n: int) -> Bool[Tensor, "b_ n_"]:
    """Repeat a mask for beams, and pad it for tokens that came later."""
    mask = mask.bool().repeat_interleave(b // mask.shape[0], dim=0)
    return torch.nn.functional.pad(mask, (0, n - mask.shape[1]))

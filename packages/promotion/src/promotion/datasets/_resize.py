"""A sample at another size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from promotion.datasets._sample import Sample
from tokenseek_common import InputError


def resize(sample: Sample, height: int, width: int) -> Sample:
    """Resize the frames and their truth; the flow is scaled along, the depth stays in metres.

    Frames are filtered so that nothing aliases. Truth is the mean of what is known around, with
    the same filter's weights; it is known where there is enough of it, which is at least at the
    pixel that is nearest to a known one. So dense truth stays dense, no point of sparse truth is
    lost, and what is unknown never mixes in.

    Args:
        sample: One sample, or a batch.
        height: Rows wanted.
        width: Columns wanted.

    Raises:
        InputError: If the size is not at least 1 x 1.

    Example:
        >>> resize(sample, 192, 256).flow.shape
        torch.Size([2, 192, 256])
    """
    if height < 1 or width < 1:
        raise InputError(f"size ({width} x {height}) must be at least 1 x 1; choose a larger one")
    old_height, old_width = sample.depth.shape[-2:]
    if (old_height, old_width) == (height, width):
        return sample
    factors = sample.flow.new_tensor([width / old_width, height / old_height])
    flow, flow_valid = _resized_truth(sample.flow, sample.flow_valid, height, width)
    depth, depth_valid = _resized_truth(
        sample.depth.unsqueeze(-3), sample.depth_valid, height, width
    )
    return Sample(
        image1=_resized(sample.image1, height, width).clamp(0, 1),
        image2=_resized(sample.image2, height, width).clamp(0, 1),
        flow=flow * factors[:, None, None],
        flow_valid=flow_valid,
        depth=depth.squeeze(-3),
        depth_valid=depth_valid,
    )


def _resized_truth(
    values: Float[Tensor, "*b c h w"], valid: Bool[Tensor, "*b h w"], height: int, width: int
) -> tuple[Float[Tensor, "*b c {height} {width}"], Bool[Tensor, "*b {height} {width}"]]:
    if valid.all():
        known = valid.new_ones(*valid.shape[:-2], height, width)
        return _resized(values, height, width), known
    weights = valid.to(values.dtype).unsqueeze(-3)
    weighted = _resized(torch.cat([values * weights, weights], dim=-3), height, width)
    sums, total = weighted[..., :-1, :, :], weighted[..., -1:, :, :]
    # A single pixel's share of the filter at its own centre; half a pixel away along both axes, as
    # far as the nearest centre can be, it is a quarter of that.
    share = min(1, height / valid.shape[-2]) * min(1, width / valid.shape[-1])
    known = total >= 0.249 * share
    means = (sums / total.clamp(min=1e-6)).where(known, 0)
    return means, known.squeeze(-3)


def _resized(
    values: Float[Tensor, "*b c h w"], height: int, width: int
) -> Float[Tensor, "*b c {height} {width}"]:
    flat = values.reshape(-1, *values.shape[-3:])
    resized = F.interpolate(
        flat, (height, width), mode="bilinear", align_corners=False, antialias=True
    )
    return resized.reshape(*values.shape[:-2], height, width)

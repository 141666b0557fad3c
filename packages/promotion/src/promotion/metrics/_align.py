"""Bring a predicted depth onto the scale of the truth."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from promotion.metrics._tally import check_finite, images_of
from tokenseek_common import InputError


class Alignment(StrEnum):
    """What is fitted to the truth, image by image, before depth is measured.

    Two results with different alignments cannot be compared.
    """

    RAW = "raw"
    """Nothing: the prediction counts in metres."""

    MEDIAN = "median"
    """A scale, the ratio of the two medians: `z^ median(z) / median(z^)`."""

    SCALE_AND_SHIFT = "scale_and_shift"
    """A scale and a shift of the depth by least squares: `a z^ + b`; not of the inverse depth."""


def align(
    predicted: Float[Tensor, "*b h w"],
    target: Float[Tensor, "*b h w"],
    valid: Bool[Tensor, "*b h w"],
    alignment: Alignment,
) -> Float[Tensor, "*b h w"]:
    """Align the depth of each image to the truth, each by itself.

    Args:
        predicted: Predicted depth.
        target: True depth, in metres.
        valid: Which pixels the fit looks at; each image needs one.
        alignment: What is fitted.

    Returns:
        The whole aligned depth, not clipped: least squares may make it negative.

    Raises:
        InputError: An image has no valid pixel or a value there that is not finite, or the median
            of a prediction is not positive.
    """
    aligned = []
    for image, truth, mask in zip(
        images_of(predicted, 2), images_of(target, 2), images_of(valid, 2), strict=True
    ):
        if not mask.any():
            raise InputError(
                "valid (no pixel of an image) must hold at least one pixel to align at; "
                "leave that image out"
            )
        scale, shift = fit(image[mask], truth[mask], alignment)
        aligned.append(scale * image + shift)
    return torch.stack(aligned).reshape(predicted.shape).to(predicted)


def fit(
    predicted: Float[Tensor, "n"], target: Float[Tensor, "n"], alignment: Alignment
) -> tuple[float, float]:
    """The scale and the shift that align one image's depth, given at its valid pixels."""
    check_finite("predicted", predicted)
    check_finite("target", target)
    if alignment is Alignment.MEDIAN:
        return _median_ratio(predicted, target), 0.0
    if alignment is Alignment.SCALE_AND_SHIFT:
        return _least_squares(predicted, target)
    return 1.0, 0.0


def _median_ratio(predicted: Float[Tensor, "n"], target: Float[Tensor, "n"]) -> float:
    # torch's median of an even number of values is the lower of the middle two, not their mean
    median = float(np.median(predicted.numpy()))
    if median <= 0:
        raise InputError(
            f"predicted (median depth {median:g}) must be positive to be aligned by medians; "
            "predict depth in front of the camera, or choose another alignment"
        )
    return float(np.median(target.numpy())) / median


def _least_squares(
    predicted: Float[Tensor, "n"], target: Float[Tensor, "n"]
) -> tuple[float, float]:
    centred = predicted - predicted.mean()
    spread = centred.square().sum().item()
    # a constant prediction has no scale to find: its best fit is the mean of the truth
    scale = (centred * target).sum().item() / spread if spread else 0.0
    return scale, (target.mean() - scale * predicted.mean()).item()

"""How far predicted depth is from the truth.

Shapes: `*b` a batch or nothing, `n` measured pixels of one image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from promotion.metrics._align import Alignment, fit
from promotion.metrics._crop import Crop, crop_mask
from promotion.metrics._protocol import DepthProtocol
from promotion.metrics._tally import Tally, images_of
from tokenseek_common import InputError

NAMES = (
    *("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog"),
    *("delta1", "delta2", "delta3"),
)


@dataclass(frozen=True, kw_only=True)
class DepthMetrics:
    """Errors of depth over one or many images, and how they were taken.

    Each figure is taken over the measured pixels of an image, then averaged over the images, as
    the benchmarks do: a sparse image counts as much as a dense one.
    """

    abs_rel: float
    """Absolute relative error, `mean |z^ - z| / z`."""

    sq_rel: float
    """Squared relative error, `mean (z^ - z)^2 / z`, in metres."""

    rmse: float
    """Root of the mean squared error, in metres."""

    rmse_log: float
    """Root of the mean squared error of the natural logarithm."""

    log10: float
    """Mean absolute error of the decimal logarithm."""

    silog: float
    """Scale-invariant logarithmic error, 100 times the deviation of `log z^ - log z` (KITTI's)."""

    delta1: float
    """Share of pixels, from 0 to 1, with `max(z^ / z, z / z^)` below 1.25."""

    delta2: float
    """The same below 1.25^2."""

    delta3: float
    """The same below 1.25^3."""

    alignment: Alignment
    """What was fitted to the truth first."""

    crop: Crop
    """The part of each image that was measured."""

    min_depth: float
    """True depth up to this was left out; predictions were raised to it."""

    max_depth: float
    """True depth from this on was left out; predictions were lowered to it."""

    pixels: int
    """How many pixels were measured."""

    images: int
    """How many images have such pixels."""

    images_skipped: int
    """How many images have none; nothing else counts them."""


class DepthAccumulator:
    """Averages errors of depth over images, so that a data set's figures are exact.

    A pixel is measured where the truth is valid, lies strictly between the two depths, and falls
    into the crop. There the prediction is aligned, then clipped to the two depths.

    Args:
        alignment: What is fitted to the truth of each image first.
        crop: The part of each image that is measured.
        min_depth: Nearest depth, in metres.
        max_depth: Farthest depth, in metres; 80 is usual outdoors, 10 indoors.

    Raises:
        InputError: The depths are not positive, or the wrong way round.

    Example:
        >>> accumulator = DepthAccumulator(alignment=Alignment.RAW, crop=Crop.NONE)
        >>> accumulator.update(torch.full((4, 4), 5.0), torch.full((4, 4), 4.0), valid)
        >>> accumulator.compute().abs_rel
        0.25
    """

    def __init__(
        self,
        *,
        alignment: Alignment,
        crop: Crop,
        min_depth: float = 1e-3,
        max_depth: float = 80.0,
    ) -> None:
        self._protocol = DepthProtocol(
            alignment=alignment, crop=crop, min_depth=min_depth, max_depth=max_depth
        )
        self._tally = Tally.of(NAMES)

    def update(
        self,
        predicted: Float[Tensor, "*b h w"],
        target: Float[Tensor, "*b h w"],
        valid: Bool[Tensor, "*b h w"],
    ) -> None:
        """Take in one image or a batch.

        Args:
            predicted: Predicted depth.
            target: True depth, in metres.
            valid: Where the truth is known.

        Raises:
            InputError: A predicted value at a measured pixel is not finite, or a prediction
                cannot be aligned; nothing of the batch counts then.
        """
        batch = Tally.of(NAMES)
        for image in zip(
            images_of(predicted, 2), images_of(target, 2), images_of(valid, 2), strict=True
        ):
            _measure(batch, *image, self._protocol)
        self._tally.merge(batch)

    def merge(self, other: DepthAccumulator) -> None:
        """Take in what another accumulator has counted, such as another process's.

        Raises:
            InputError: It measures in another way.
        """
        if other._protocol != self._protocol:
            raise InputError(
                f"other ({other._protocol}) must measure as this accumulator does "
                f"({self._protocol}); their figures cannot be averaged"
            )
        self._tally.merge(other._tally)

    def compute(self) -> DepthMetrics:
        """Give the figures of everything so far.

        Raises:
            InputError: No image had a pixel to measure at.
        """
        self._tally.check_measured()
        means = {name: mean.mean for name, mean in self._tally.means.items()}
        return DepthMetrics(
            **means,
            alignment=self._protocol.alignment,
            crop=self._protocol.crop,
            min_depth=self._protocol.min_depth,
            max_depth=self._protocol.max_depth,
            pixels=self._tally.pixels,
            images=self._tally.images,
            images_skipped=self._tally.skipped,
        )


def depth_metrics(
    predicted: Float[Tensor, "*b h w"],
    target: Float[Tensor, "*b h w"],
    valid: Bool[Tensor, "*b h w"],
    *,
    alignment: Alignment,
    crop: Crop,
    min_depth: float = 1e-3,
    max_depth: float = 80.0,
) -> DepthMetrics:
    """Measure the depth of one image or of a batch.

    Args:
        predicted: Predicted depth.
        target: True depth, in metres.
        valid: Where the truth is known.
        alignment: What is fitted to the truth of each image first.
        crop: The part of each image that is measured.
        min_depth: Nearest depth, in metres; nothing nearer is measured.
        max_depth: Farthest depth, in metres; nothing farther is measured.

    Returns:
        The mean over images of the errors of each.

    Raises:
        InputError: There is no pixel to measure at, a value at one is not finite, a prediction
            cannot be aligned, or the two depths are not positive and in order.
    """
    accumulator = DepthAccumulator(
        alignment=alignment, crop=crop, min_depth=min_depth, max_depth=max_depth
    )
    accumulator.update(predicted, target, valid)
    return accumulator.compute()


def _measure(
    tally: Tally,
    predicted: Float[Tensor, "h w"],
    target: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"],
    protocol: DepthProtocol,
) -> None:
    """Count one image."""
    # a NaN is neither too near nor too far: it stays, and is refused
    too_near, too_far = target <= protocol.min_depth, target >= protocol.max_depth
    measured = valid & ~too_near & ~too_far & crop_mask(protocol.crop, *target.shape)
    if not tally.count(int(measured.sum())):
        return
    z = target[measured]
    scale, shift = fit(predicted[measured], z, protocol.alignment)
    aligned = scale * predicted[measured] + shift
    z_hat = aligned.clamp(protocol.min_depth, protocol.max_depth)

    error = z_hat - z
    log_error = z_hat.log() - z.log()
    ratio = torch.maximum(z_hat / z, z / z_hat)
    figures = {
        "abs_rel": (error.abs() / z).mean(),
        "sq_rel": (error.square() / z).mean(),
        "rmse": error.square().mean().sqrt(),
        "rmse_log": log_error.square().mean().sqrt(),
        "log10": (z_hat.log10() - z.log10()).abs().mean(),
        "silog": 100 * log_error.std(correction=0),
        **{f"delta{k}": (ratio < 1.25**k).double().mean() for k in (1, 2, 3)},
    }
    for name, figure in figures.items():
        tally.means[name].add(figure)

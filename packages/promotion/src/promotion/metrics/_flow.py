"""How far predicted flow is from the truth.

Shapes: `*b` a batch or nothing, `n` valid pixels of one image.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from promotion.metrics._endpoint_error import endpoint_error
from promotion.metrics._tally import Tally, check_finite, images_of

NAMES = (
    *("epe", "epe_per_image", "outliers_1px", "outliers_3px", "outliers_5px", "fl_all"),
    *("epe_s0_10", "epe_s10_40", "epe_s40_plus"),
    *("epe_occluded", "epe_visible", "fl_occluded", "fl_visible"),
)


@dataclass(frozen=True, kw_only=True)
class FlowMetrics:
    """Errors of flow over the valid pixels of one or many images.

    Every valid pixel of the whole set counts alike, except in `epe_per_image`. Rates are shares,
    from 0 to 1. What no pixel belongs to is None.
    """

    epe: float
    """Average endpoint error, `mean |f^ - f|`, in pixels."""

    epe_per_image: float
    """The mean over images of each image's average endpoint error (KITTI's "F1-epe")."""

    outliers_1px: float
    """Share of pixels whose endpoint error is above 1 px."""

    outliers_3px: float
    """Share of pixels whose endpoint error is above 3 px."""

    outliers_5px: float
    """Share of pixels whose endpoint error is above 5 px."""

    fl_all: float
    """Share of pixels whose endpoint error is above 3 px and above 5 % of `|f|` (KITTI's Fl)."""

    epe_s0_10: float | None
    """Average endpoint error where the true motion is below 10 px."""

    epe_s10_40: float | None
    """Average endpoint error where the true motion is from 10 to 40 px, both included."""

    epe_s40_plus: float | None
    """Average endpoint error where the true motion is above 40 px."""

    epe_occluded: float | None
    """Average endpoint error where the pixel is not seen in the second frame, if that is known."""

    epe_visible: float | None
    """Average endpoint error where the pixel is seen in both frames, if that is known."""

    fl_occluded: float | None
    """`fl_all` over the occluded pixels."""

    fl_visible: float | None
    """`fl_all` over the visible pixels."""

    pixels: int
    """How many pixels were measured."""

    images: int
    """How many images have such pixels."""

    images_skipped: int
    """How many images have none; nothing else counts them."""


class FlowAccumulator:
    """Sums errors of flow over images, so that a data set's figures are exact.

    Example:
        >>> accumulator = FlowAccumulator()
        >>> accumulator.update(torch.zeros(2, 4, 4), torch.ones(2, 4, 4), valid)
        >>> accumulator.compute().epe
        1.4142135623730951
    """

    def __init__(self) -> None:
        self._tally = Tally.of(NAMES)

    def update(
        self,
        predicted: Float[Tensor, "*b 2 h w"],
        target: Float[Tensor, "*b 2 h w"],
        valid: Bool[Tensor, "*b h w"],
        occlusion: Bool[Tensor, "*b h w"] | None = None,
    ) -> None:
        """Take in one image or a batch.

        Args:
            predicted: Predicted flow, in pixels.
            target: True flow.
            valid: Where the truth is known.
            occlusion: Which pixels are not seen in the second frame. Images without it have no
                part in the figures of occluded and visible pixels.

        Raises:
            InputError: A value at a valid pixel is not finite; nothing of the batch counts then.
        """
        maps = [images_of(predicted, 3), images_of(target, 3), images_of(valid, 2)]
        if occlusion is not None:
            maps.append(images_of(occlusion, 2))
        batch = Tally.of(NAMES)
        for image in zip(*maps, strict=True):
            _measure(batch, *image)
        self._tally.merge(batch)

    def merge(self, other: FlowAccumulator) -> None:
        """Take in what another accumulator has counted, such as another process's."""
        self._tally.merge(other._tally)

    def compute(self) -> FlowMetrics:
        """Give the figures of everything so far.

        Raises:
            InputError: No image had a valid pixel.
        """
        self._tally.check_measured()
        means = self._tally.means
        return FlowMetrics(
            epe=means["epe"].mean,
            epe_per_image=means["epe_per_image"].mean,
            outliers_1px=means["outliers_1px"].mean,
            outliers_3px=means["outliers_3px"].mean,
            outliers_5px=means["outliers_5px"].mean,
            fl_all=means["fl_all"].mean,
            epe_s0_10=means["epe_s0_10"].known,
            epe_s10_40=means["epe_s10_40"].known,
            epe_s40_plus=means["epe_s40_plus"].known,
            epe_occluded=means["epe_occluded"].known,
            epe_visible=means["epe_visible"].known,
            fl_occluded=means["fl_occluded"].known,
            fl_visible=means["fl_visible"].known,
            pixels=self._tally.pixels,
            images=self._tally.images,
            images_skipped=self._tally.skipped,
        )


def flow_metrics(
    predicted: Float[Tensor, "*b 2 h w"],
    target: Float[Tensor, "*b 2 h w"],
    valid: Bool[Tensor, "*b h w"],
    occlusion: Bool[Tensor, "*b h w"] | None = None,
) -> FlowMetrics:
    """Measure the flow of one image or of a batch.

    Args:
        predicted: Predicted flow, in pixels.
        target: True flow.
        valid: Where the truth is known.
        occlusion: Which pixels are not seen in the second frame.

    Returns:
        The errors over all valid pixels.

    Raises:
        InputError: There is no valid pixel, or a value at one of them is not finite.
    """
    accumulator = FlowAccumulator()
    accumulator.update(predicted, target, valid, occlusion)
    return accumulator.compute()


def _measure(
    tally: Tally,
    predicted: Float[Tensor, "2 h w"],
    target: Float[Tensor, "2 h w"],
    valid: Bool[Tensor, "h w"],
    occlusion: Bool[Tensor, "h w"] | None = None,
) -> None:
    """Count one image."""
    if not tally.count(int(valid.sum())):
        return
    check_finite("predicted", predicted[:, valid])
    check_finite("target", target[:, valid])
    error = endpoint_error(predicted, target)[valid]
    speed = target.square().sum(0).sqrt()[valid]
    outlier = (error > 3) & (error > 0.05 * speed)

    means = tally.means
    means["epe"].add(error)
    means["epe_per_image"].add(error.mean())
    means["fl_all"].add(outlier)
    for limit in (1, 3, 5):
        means[f"outliers_{limit}px"].add(error > limit)

    means["epe_s0_10"].add(error[speed < 10])
    means["epe_s10_40"].add(error[(speed >= 10) & (speed <= 40)])
    means["epe_s40_plus"].add(error[speed > 40])

    if occlusion is not None:
        hidden = occlusion[valid]
        for name, region in (("occluded", hidden), ("visible", ~hidden)):
            means[f"epe_{name}"].add(error[region])
            means[f"fl_{name}"].add(outlier[region])

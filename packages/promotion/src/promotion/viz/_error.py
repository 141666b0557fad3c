"""Errors in colours."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from promotion.viz._colours import coloured, palette
from promotion.viz._known import check_scale, known_part
from promotion.viz._legend import amounts, bar_legend, beside
from tokenseek_common import InputError

COLOURS = "hot"  # from black by red and yellow to white
TICKS = 6


def error_to_image(
    error: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"] | None = None,
    *,
    max_error: float | None = None,
) -> UInt8[Tensor, "3 h w"]:
    """Colour an error, such as the endpoint error of flow: none is black, large ones are white.

    Args:
        error: Error of each pixel, 0 or above.
        valid: Where it is known; the rest is grey.
        max_error: The error that is white, as are larger ones. Without it, 99 % of the pixels lie
            below, so pictures of two errors cannot be compared.

    Returns:
        The colours.

    Raises:
        InputError: A known error is not finite, nothing is known and `max_error` is not given, or
            that is not positive.
    """
    error, known = known_part("error", error, valid)
    return coloured(error / _scale(error, known, max_error), COLOURS, known)


def error_picture(
    error: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"] | None = None,
    *,
    max_error: float | None = None,
    unit: str = "px",
) -> UInt8[Tensor, "3 hh ww"]:
    """Colour an error as `error_to_image` does, and put a colour bar in its unit beside it."""
    error, known = known_part("error", error, valid)
    scale = _scale(error, known, max_error)
    ticks = [scale * index / (TICKS - 1) for index in range(TICKS)]
    legend = bar_legend(
        palette(COLOURS),
        amounts(ticks, unit, below=False, above=bool((error[known] > scale).any())),
        height=error.shape[0],
        unknown=not bool(known.all()),
    )
    return beside(coloured(error / scale, COLOURS, known), legend)


def _scale(
    error: Float[Tensor, "h w"], known: Bool[Tensor, "h w"], max_error: float | None
) -> float:
    """The error that is white: as given, or one that few exceed; 1 where there is none."""
    if max_error is None:
        check_scale(known, "max_error")
        # torch's quantile refuses large maps
        return float(np.quantile(error[known].numpy(), 0.99)) or 1.0
    if not max_error > 0:
        raise InputError(
            f"max_error ({max_error:g}) must be above 0; leave it out to choose it by the errors"
        )
    return max_error

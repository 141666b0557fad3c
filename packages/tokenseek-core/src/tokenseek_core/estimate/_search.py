"""The largest size that fits, found by asking for the memory of few sizes."""

from __future__ import annotations

import functools
from collections.abc import Callable

PRECISION = 100
"""The search stops where what fits and what does not are this part of a size apart."""

STRIDE = 16
"""How many times as large the next guess may be."""


def largest_that_fits(
    peak: Callable[[int], int], memory: int, *, start: int, least: int, most: int
) -> int | None:
    """Find how large a sequence or a batch may be, to a hundredth of it.

    Args:
        peak: Bytes that a size needs, which grow with it.
        memory: Bytes that there are.
        start: A size that is likely to be near.
        least: The smallest size that has a meaning.
        most: The largest.

    Returns:
        A size that fits, at most a hundredth below the largest one; None where none fits.

    Example:
        >>> largest_that_fits(lambda size: 8 * size, 1000, start=1, least=1, most=4096)
        125
    """
    peak = functools.cache(peak)
    fitting, failing = bracket(peak, memory, min(max(start, least), most), least, most)
    if fitting is None or failing is None:
        return fitting
    halve = False
    while failing - fitting > max(1, fitting // PRECISION):
        wide = failing - fitting
        size = (fitting + failing) // 2 if halve else crossing(peak, memory, fitting, failing)
        margin = max(1, fitting // (2 * PRECISION))
        size = min(max(size, fitting + margin), failing - margin)
        if peak(size) <= memory:
            fitting = size
        else:
            failing = size
        halve = not halve and 2 * (failing - fitting) > wide
    return fitting


def bracket(
    peak: Callable[[int], int], memory: int, size: int, least: int, most: int
) -> tuple[int | None, int | None]:
    """Go up or down from `size` until the limit lies in between.

    Returns:
        A size that fits and a larger one that does not; None for the first where `least` does not
        fit, for the second where `most` does.
    """
    if peak(size) <= memory:
        larger = min(2 * size, most)
        while size < most:
            if peak(larger) > memory:
                return size, larger
            # A little above where memory would run out, were it to grow on like this.
            guess = crossing(peak, memory, size, larger) * (PRECISION + 1) // PRECISION
            size, larger = larger, min(max(guess, larger + 1), STRIDE * larger, most)
        return size, None
    while size > least:
        smaller = max(size // 2, least)
        if peak(smaller) <= memory:
            return smaller, size
        size = smaller
    return None, size


def crossing(peak: Callable[[int], int], memory: int, low: int, high: int) -> int:
    """Where a straight line through two sizes meets the memory."""
    slope = (peak(high) - peak(low)) / max(1, high - low)
    return low + int((memory - peak(low)) / slope) if slope > 0 else 2 * high

"""Whole numbers in proportion to weights."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def apportion(weights: Sequence[int | float], total: int) -> list[int]:
    """Share a whole number out in proportion to weights, by the method of largest remainders.

    Exact: the shares add up to `total`, and each is its quota rounded down or up. Of equal
    remainders the earlier one is rounded up.
    """
    exact = [Fraction(weight) for weight in weights]
    quotas = [total * weight / sum(exact) for weight in exact]
    shares = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda place: shares[place] - quotas[place])
    for place in by_remainder[: total - sum(shares)]:
        shares[place] += 1
    return shares

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promotion.nn import AllPairs, OnDemand, correlation
from promotion.nn import _correlation as module


def features_of(h: int, w: int, *, b: int = 2, d: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(h * 100 + w)
    first, second = torch.randn(2, b, d, h, w, dtype=torch.float64, generator=generator)
    centre = torch.rand(b, 2, h, w, dtype=torch.float64, generator=generator) * 1.6 - 0.3
    return first, second, centre * torch.tensor([w, h]).view(2, 1, 1)


def slow_lookup(
    first: Tensor, second: Tensor, centre: Tensor, *, radius: int, levels: int
) -> Tensor:
    """One product at a time: the definition, sampled by torch's own bilinear interpolation."""
    b, d, h, w = first.shape
    around = [(dx, dy) for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1)]
    found = torch.zeros(b, levels * len(around), h, w, dtype=first.dtype)
    for level in range(levels):
        rows, columns = second.shape[-2:]
        for q, (dx, dy) in enumerate(around):
            x = (centre[:, 0] + 0.5) / 2**level - 0.5 + dx
            y = (centre[:, 1] + 0.5) / 2**level - 0.5 + dy
            # Pixel centres at (2 i + 1) / n - 1, as without align_corners.
            places = torch.stack([(2 * x + 1) / columns - 1, (2 * y + 1) / rows - 1], -1)
            sampled = F.grid_sample(second, places, padding_mode="zeros", align_corners=False)
            found[:, level * len(around) + q] = (first * sampled).sum(1) / math.sqrt(d)
        second = F.avg_pool2d(second, (min(2, rows), min(2, columns)))
    return found


@given(h=st.integers(1, 9), w=st.integers(1, 9), radius=st.integers(1, 3), levels=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("kind", [AllPairs, OnDemand])
def test_both_ways_equal_sampling_one_product_at_a_time(
    kind: type[AllPairs | OnDemand], h: int, w: int, radius: int, levels: int
) -> None:
    first, second, centre = features_of(h, w)
    found = kind(first, second, radius=radius, levels=levels)(centre)
    expected = slow_lookup(first, second, centre, radius=radius, levels=levels)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_rows_taken_a_few_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, centre = features_of(6, 7)
    whole = OnDemand(first, second, radius=2, levels=2)(centre)
    monkeypatch.setattr(module, "LARGEST_VOLUME", 8 * 5000)
    assert torch.equal(OnDemand(first, second, radius=2, levels=2)(centre), whole)


def test_large_pictures_are_looked_up_on_demand_outside_of_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, _ = features_of(4, 4)
    assert isinstance(correlation(first, second, radius=1, levels=1), AllPairs)
    monkeypatch.setattr(module, "LARGEST_VOLUME", 100)
    assert isinstance(correlation(first, second, radius=1, levels=1), AllPairs)
    with torch.no_grad():
        assert isinstance(correlation(first, second, radius=1, levels=1), OnDemand)


@pytest.mark.parametrize("kind", [AllPairs, OnDemand])
def test_gradient_of_features(kind: type[AllPairs | OnDemand]) -> None:
    first, second, centre = features_of(3, 4, b=1, d=2)

    def look(first: Tensor, second: Tensor) -> Tensor:
        return kind(first, second, radius=1, levels=2)(centre)

    assert torch.autograd.gradcheck(look, (first.requires_grad_(), second.requires_grad_()))

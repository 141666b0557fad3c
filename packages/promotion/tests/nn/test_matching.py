from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from promotion.nn import GlobalMatching
from promotion.nn import _matching as module


def features_of(h: int, w: int, *, b: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, b, 6, h, w, dtype=torch.float64, generator=generator)
    return first, second


def slow_match(first: Tensor, second: Tensor, radius: int, temperature: float) -> Tensor:
    d, h, w = first.shape
    found = torch.zeros(2, h, w, dtype=first.dtype)
    for y in range(h):
        for x in range(w):
            near = [
                (v, u)
                for v in range(h)
                for u in range(w)
                if abs(v - y) <= radius and abs(u - x) <= radius
            ]
            logits = [first[:, y, x] @ second[:, v, u] / math.sqrt(d) for v, u in near]
            weights = (temperature * torch.stack(logits)).softmax(0)
            found[0, y, x] = sum(p * u for p, (_, u) in zip(weights, near, strict=True)) - x
            found[1, y, x] = sum(p * v for p, (v, _) in zip(weights, near, strict=True)) - y
    return found


@pytest.mark.parametrize("radius", [1, 3, 9])
@pytest.mark.parametrize("trained_cells", [4, 1000])
def test_equals_a_softmax_over_each_window(
    monkeypatch: pytest.MonkeyPatch, radius: int, trained_cells: int
) -> None:
    monkeypatch.setattr(module, "TRAINED_CELLS", trained_cells)
    first, second = features_of(5, 7)
    match = GlobalMatching(radius).double()
    reach = min(5, 2 * radius + 1) * min(7, 2 * radius + 1)
    temperature = max(1.0, math.log(reach) / math.log(trained_cells))
    expected = [slow_match(*pair, radius, temperature) for pair in zip(first, second, strict=True)]
    torch.testing.assert_close(match(first, second), torch.stack(expected), rtol=1e-10, atol=1e-12)


def test_matching_in_smaller_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = features_of(5, 6)
    match = GlobalMatching(2).double()
    whole = match(first, second)
    monkeypatch.setattr(module, "BLOCK", 2)
    torch.testing.assert_close(match(first, second), whole, rtol=1e-12, atol=1e-13)


def test_a_shift_of_distinct_features_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    wide = 12 * torch.randn(1, 64, 8, 20, generator=generator)
    first, second = wide[..., 2:14], wide[..., :12]  # the content moves 2 cells to the right
    found = GlobalMatching(4)(first, second)
    torch.testing.assert_close(found[0, 0, :, :10], torch.full((8, 10), 2.0))
    torch.testing.assert_close(found[0, 1, :, :10], torch.zeros(8, 10), atol=1e-5, rtol=0)


def test_gradient() -> None:
    first, second = features_of(3, 4, b=1)
    match = GlobalMatching(2).double()
    assert torch.autograd.gradcheck(match, (first.requires_grad_(), second.requires_grad_()))

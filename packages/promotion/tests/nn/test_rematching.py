from __future__ import annotations

import math

import torch
from torch import Tensor

from promotion.nn import GlobalMatching
from promotion.nn._rematching import likeness, rematched


def by_loops(first: Tensor, second: Tensor, displacement: Tensor) -> Tensor:
    """Cosines with what lies, blended linearly, at each cell's place; 0 beyond the border."""
    _, height, width = first.shape
    unit1, unit2 = (each / each.norm(dim=0) for each in (first, second))
    cosines = torch.zeros(height, width, dtype=first.dtype)
    for i in range(height):
        for j in range(width):
            x, y = j + float(displacement[0, i, j]), i + float(displacement[1, i, j])
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    share = (1 - abs(y - row)) * (1 - abs(x - column))
                    if 0 <= row < height and 0 <= column < width:
                        cosines[i, j] += share * (unit1[:, i, j] @ unit2[:, row, column])
    return cosines


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_likeness_is_the_cosine_at_the_place_itself() -> None:
    first, second = random(2, 1, 5, 6, 7, seed=0)
    displacement = 3 * random(1, 2, 6, 7, seed=1)
    found = likeness(first, second, displacement)
    torch.testing.assert_close(found[0], by_loops(first[0], second[0], displacement[0]))


def test_a_match_is_taken_where_it_fits_better_by_the_margin() -> None:
    first, second = random(2, 1, 5, 6, 7, seed=0)
    match = GlobalMatching(4).double().requires_grad_(False)
    carried = random(1, 2, 6, 7, seed=1)
    found = match(first, second)
    better = by_loops(first[0], second[0], found[0]) - by_loops(first[0], second[0], carried[0])
    for margin in (-2.0, 0.0, 0.1, 2.0):
        taken = rematched(match, first, second, carried, margin=margin)
        expected = torch.where(better > margin, found, carried)
        torch.testing.assert_close(taken, expected)
    assert 0 < (better > 0.1).sum() < better.numel()

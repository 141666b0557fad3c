from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mept.inspect import active_units, unit_overlap


def active(*samples: str) -> Tensor:
    """One layer; a unit is active where there is a 1."""
    return torch.tensor([[[mark == "1" for mark in sample] for sample in samples]])


def overlaps(groups: list[int], *samples: str) -> list[list[float]]:
    found: list[list[float]] = unit_overlap(active(*samples), torch.tensor(groups))[0].tolist()
    return found


def test_the_largest_units_of_each_sample_are_active() -> None:
    activations = torch.tensor([[[0.1, 0.4, 0.3, 0.2], [9.0, 1.0, 2.0, 3.0]]])
    assert torch.equal(active_units(activations, 0.5), active("0110", "1001"))
    assert torch.equal(active_units(activations, 0.1), active("0100", "1000")), "rounded up"


def test_a_unit_that_is_zero_is_not_active() -> None:
    assert torch.equal(active_units(torch.tensor([[[0.0, 2.0, 0.0]]]), 0.9), active("010"))


def test_the_overlap_of_two_samples_is_the_jaccard_index_of_their_units() -> None:
    assert overlaps([0, 1], "11100", "01110") == [[1, 2 / 4], [2 / 4, 1]]
    assert overlaps([0, 1], "11000", "00011") == [[1, 0], [0, 1]]


def test_the_overlap_of_groups_counts_how_often_a_unit_is_active() -> None:
    """The first unit for all and half of the samples, the second for half and none."""
    found = overlaps([0, 0, 1, 1], "11", "10", "10", "00")
    assert found[0][1] == found[1][0] == pytest.approx((0.5 + 0) / (1 + 0.5))


def test_groups_that_activate_nothing_do_not_overlap() -> None:
    assert overlaps([0, 1], "00", "00") == [[0, 0], [0, 0]]

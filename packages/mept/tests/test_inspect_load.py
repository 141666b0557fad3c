from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mept.inspect import (
    dead_experts,
    entropy,
    evenness,
    expert_load,
    group_load,
    load_variation,
    mutual_information,
)


def chosen(*layers: list[list[int]]) -> Tensor:
    return torch.tensor(layers)


def test_a_choice_of_one_expert_counts_one_and_of_two_experts_half() -> None:
    one = expert_load(chosen([[0], [2], [2], [2]], [[1], [1], [1], [1]]), 3)
    assert one.tolist() == [[0.25, 0, 0.75], [0, 1, 0]]
    assert expert_load(chosen([[0, 2], [2, 1]]), 4).tolist() == [[0.25, 0.25, 0.5, 0]]


def test_the_load_of_a_group_is_that_of_its_samples() -> None:
    load = group_load(chosen([[0], [1], [0], [2]]), torch.tensor([1, 0, 1, 1]), 3)
    torch.testing.assert_close(load, torch.tensor([[[0.0, 1, 0]], [[2 / 3, 0, 1 / 3]]]).double())


def test_experts_that_nobody_is_given_are_dead() -> None:
    load = expert_load(chosen([[0], [2]], [[1], [1]], [[0], [1]]), 3)
    assert dead_experts(load) == [(1,), (0, 2), (2,)]
    assert dead_experts(torch.full((1, 3), 1 / 3)) == [()]


def test_the_variation_is_0_of_an_even_load_and_highest_of_a_single_expert() -> None:
    load = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0]])
    assert load_variation(load).tolist() == [0, pytest.approx(math.sqrt(3))]


def test_the_entropy_is_log_e_of_an_even_load_and_0_of_a_single_expert() -> None:
    load = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    assert entropy(load).tolist() == pytest.approx([math.log(4), 0, math.log(2)])
    assert evenness(load).tolist() == pytest.approx([1, 0, 0.5])
    assert str(entropy(load)[1].item()) == "0.0", "and not -0"


def test_a_single_expert_is_loaded_evenly() -> None:
    assert evenness(torch.ones(2, 1)).tolist() == [1, 1]


def information(groups: list[int], *layers: list[list[int]]) -> list[float]:
    members = torch.tensor(groups)
    load = group_load(torch.tensor(layers), members, 4)
    found: list[float] = mutual_information(load, members.bincount().double()).tolist()
    return found


def test_experts_that_part_the_groups_tell_all_of_the_group() -> None:
    parted = [[0], [0], [3], [3], [1], [1]]
    assert information([0, 0, 1, 1, 2, 2], parted) == pytest.approx([math.log(3)])


def test_experts_that_all_groups_use_alike_tell_nothing() -> None:
    alike, single = [[0], [1], [0], [1]], [[2], [2], [2], [2]]
    assert information([0, 0, 1, 1], alike, single) == [0, 0]


def test_where_rounding_alone_is_left_the_information_is_none() -> None:
    experts, counts = 4, (3, 7, 11)  # thirds and elevenths do not add up to one
    members = [group for group, count in enumerate(counts) for _ in range(count * experts)]
    alike = [[place % experts] for place in range(len(members))]
    assert information(members, alike) == [0]


def test_the_information_of_two_choices_is_that_of_a_table_of_halves() -> None:
    """One group chooses 0 and 1, the other 1 and 2: half of all choices tell the group."""
    found = information([0, 1], [[0, 1], [1, 2]])
    table = torch.tensor([[0.25, 0.25, 0.0], [0.0, 0.25, 0.25]])
    expected = sum(
        float(p) * math.log(float(p) / float(table[g].sum() * table[:, e].sum()))
        for (g, e), p in zip(table.nonzero().tolist(), table[table > 0], strict=True)
    )
    assert found == pytest.approx([expected])
    assert expected == pytest.approx(math.log(2) / 2)


def test_groups_count_by_their_samples() -> None:
    """Of four samples one is apart: the entropy of a quarter."""
    apart = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert information([0, 0, 0, 1], [[0], [0], [0], [1]]) == pytest.approx([apart])

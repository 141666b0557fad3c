from __future__ import annotations

import torch

from mept.inspect import count_paths, count_transitions, expert_paths


def test_a_path_is_the_best_expert_of_every_layer() -> None:
    chosen = torch.tensor([[[0, 1], [2, 0]], [[1, 2], [1, 0]], [[2, 1], [0, 1]]])
    assert expert_paths(chosen).tolist() == [[0, 1, 2], [2, 1, 0]]


def test_paths_are_counted_the_most_frequent_first_and_equals_in_order() -> None:
    paths = torch.tensor([[1, 0], [0, 1], [2, 2], [2, 2], [1, 0], [2, 2], [0, 0]])
    assert list(count_paths(paths).items()) == [((2, 2), 3), ((1, 0), 2), ((0, 0), 1), ((0, 1), 1)]


def test_transitions_are_counted_from_row_to_column() -> None:
    paths = torch.tensor([[0, 1, 1], [0, 1, 0], [2, 1, 0]])
    assert count_transitions(paths, 3).tolist() == [
        [[0, 2, 0], [0, 0, 0], [0, 1, 0]],
        [[0, 0, 0], [2, 1, 0], [0, 0, 0]],
    ]


def test_a_single_layer_has_no_transitions() -> None:
    assert count_transitions(torch.tensor([[0], [1]]), 2).shape == (0, 2, 2)

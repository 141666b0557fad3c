from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mept.inspect import centroid_accuracy, principal_components, silhouette


def clusters(count: int = 25, apart: float = 1.0) -> tuple[Tensor, Tensor]:
    """Points of three groups of different sizes, the last of which has one."""
    torch.manual_seed(0)
    groups = torch.tensor([0] * (count // 2) + [1] * (count - count // 2 - 1) + [2])
    return torch.randn(count, 4) + apart * groups[:, None], groups


def slow_silhouette(points: Tensor, groups: Tensor) -> float:
    total = 0.0
    members = {g: [i for i in range(len(groups)) if groups[i] == g] for g in groups.tolist()}

    def mean_distance(i: int, others: list[int]) -> float:
        return sum(float((points[i] - points[j]).norm()) for j in others) / len(others)

    for i, own in enumerate(groups.tolist()):
        others = [j for j in members[own] if j != i]
        if others:
            a = mean_distance(i, others)
            b = min(mean_distance(i, found) for g, found in members.items() if g != own)
            total += (b - a) / max(a, b)
    return total / len(groups)


def slow_centroid_accuracy(points: Tensor, groups: Tensor) -> float:
    right = 0
    for i, own in enumerate(groups.tolist()):
        distances = {}
        for g in set(groups.tolist()):
            members = [points[j] for j in range(len(groups)) if groups[j] == g and j != i]
            if members:
                distances[g] = float((points[i] - torch.stack(members).mean(0)).norm())
        right += min(distances, key=lambda g: distances[g]) == own
    return right / len(groups)


@pytest.mark.parametrize("apart", [0.0, 1.0, 5.0])
def test_the_silhouette_is_that_of_the_formula_point_by_point(apart: float) -> None:
    points, groups = clusters(apart=apart)
    assert silhouette(points, groups) == pytest.approx(slow_silhouette(points.double(), groups))


def test_the_silhouette_is_near_1_of_groups_far_apart_and_0_of_one_that_is_split() -> None:
    points, groups = clusters(apart=100.0)
    assert silhouette(points[:-1], groups[:-1]) > 0.95
    mixed = torch.arange(24) % 2
    assert abs(silhouette(points[:12].repeat(2, 1), mixed.sort().values)) < 0.1


def test_points_that_are_all_one_have_a_silhouette_of_0() -> None:
    assert silhouette(torch.ones(4, 3), torch.tensor([0, 0, 1, 1])) == 0


@pytest.mark.parametrize("apart", [0.0, 1.0, 5.0])
def test_the_nearest_centroid_is_found_without_the_point_itself(apart: float) -> None:
    points, groups = clusters(apart=apart)
    assert centroid_accuracy(points, groups) == slow_centroid_accuracy(points.double(), groups)


def test_a_single_group_cannot_be_told_apart() -> None:
    points, group = torch.randn(5, 3), torch.zeros(5, dtype=torch.long)
    assert math.isnan(silhouette(points, group))
    assert math.isnan(centroid_accuracy(points, group))


def test_principal_components_are_the_directions_of_most_variance() -> None:
    torch.manual_seed(0)
    points = torch.randn(40, 5).double() * torch.tensor([0.1, 4.0, 0.1, 2.0, 0.1])
    coordinates, shares = principal_components(points)
    values, vectors = torch.linalg.eigh(torch.cov(points.T))
    torch.testing.assert_close(shares, values.flip(0)[:2] / values.sum())
    expected = (points - points.mean(0)) @ vectors.flip(1)[:, :2]
    torch.testing.assert_close(coordinates.abs(), expected.abs())
    torch.testing.assert_close(coordinates.T.cov().diag(), values.flip(0)[:2])


def test_the_sign_of_a_component_does_not_depend_on_the_order_of_the_points() -> None:
    torch.manual_seed(0)
    points = torch.randn(9, 4).double()
    order = torch.randperm(9)
    torch.testing.assert_close(
        principal_components(points[order])[0], principal_components(points)[0][order]
    )


@pytest.mark.parametrize("shape", [(1, 3), (4, 1), (2, 2)])
def test_there_are_two_coordinates_whatever_the_points(shape: tuple[int, int]) -> None:
    coordinates, shares = principal_components(torch.arange(float(math.prod(shape))).view(shape))
    assert coordinates.shape == (shape[0], 2)
    assert torch.isfinite(coordinates).all()
    assert shares[1] == pytest.approx(0, abs=1e-12)

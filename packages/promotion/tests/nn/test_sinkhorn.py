from __future__ import annotations

import torch
from torch import Tensor

from promotion.nn import sinkhorn


def slow_sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    q = (scores / epsilon).exp()
    n, k = q.shape
    for _ in range(iterations):
        for column in range(k):
            q[:, column] *= n / k / sum(q[i, column] for i in range(n))
        for row in range(n):
            q[row] /= sum(q[row])
    return q


def scores_of(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(*shape, dtype=torch.float64, generator=generator) - 1


def test_equals_scaling_rows_and_columns_by_hand() -> None:
    scores = scores_of(7, 3)
    found = sinkhorn(scores, epsilon=0.3, iterations=4)
    torch.testing.assert_close(found, slow_sinkhorn(scores, 0.3, 4), rtol=1e-12, atol=0)


def test_usual_settings() -> None:
    scores = scores_of(7, 3)
    torch.testing.assert_close(sinkhorn(scores), slow_sinkhorn(scores, 0.05, 3), rtol=1e-12, atol=0)


def test_rows_sum_to_one_and_columns_to_an_equal_share() -> None:
    shares = sinkhorn(scores_of(2, 60, 5), iterations=200)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 60).double(), rtol=1e-12, atol=0)
    torch.testing.assert_close(shares.sum(-2), torch.full((2, 5), 12.0).double(), rtol=1e-8, atol=0)


def test_a_batch_equals_its_pictures() -> None:
    scores = scores_of(3, 20, 4)
    together = sinkhorn(scores)
    assert all(torch.equal(together[i], sinkhorn(scores[i])) for i in range(3))


def test_a_small_epsilon_does_not_overflow() -> None:
    assert sinkhorn(scores_of(50, 8).float(), epsilon=1e-4).isfinite().all()


def test_gradient() -> None:
    scores = scores_of(2, 6, 3).requires_grad_()
    assert torch.autograd.gradcheck(sinkhorn, scores)

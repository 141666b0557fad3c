from __future__ import annotations

import torch

from tokenseek_common.rows import RowSelection, anchored


def test_the_value_is_the_recorded_one_and_the_gradient_that_of_the_live_part() -> None:
    recorded = torch.tensor([3.0, -1.0], requires_grad=True)
    live = torch.tensor([0.1, 1e8], requires_grad=True)
    found = anchored(recorded, live)
    assert torch.equal(found, recorded)
    found.backward(torch.tensor([2.0, 5.0]))
    assert recorded.grad is None
    assert live.grad is not None
    assert live.grad.tolist() == [2.0, 5.0]


def test_a_pool_over_all_rows_needs_the_kept_rows_alone() -> None:
    """Eq. (3): the pool of where(selected, u, sg(u)), from its recorded value and k rows."""
    torch.manual_seed(0)
    kept = torch.tensor([[0, 1, 1, 0, 1], [1, 0, 0, 0, 0]]).bool()
    weights = torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 0, 0]]).double()
    states = torch.randn(2, 5, 3, dtype=torch.float64)
    matrix = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(2, 3, dtype=torch.float64)

    u = states @ matrix
    constant = torch.where(kept[..., None], u, u.detach())
    pooled = (weights[..., None] * constant).sum(1) / weights.sum(1, keepdim=True)
    (expected,) = torch.autograd.grad(pooled, matrix, upstream)

    selection = RowSelection.of(kept)
    live = (selection.rows(weights) * selection.active)[..., None] * (
        selection.rows(states) @ matrix
    )
    found = anchored(pooled, live.sum(1) / weights.sum(1, keepdim=True))
    assert torch.equal(found, pooled)
    (gradient,) = torch.autograd.grad(found, matrix, upstream)
    torch.testing.assert_close(gradient, expected)

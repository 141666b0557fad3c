from __future__ import annotations

import torch
from torch import Tensor

from promotion.nn import convex_upsample


def slow_upsample(coarse: Tensor, logits: Tensor, factor: int) -> Tensor:
    b, c, h, w = coarse.shape
    fine = torch.zeros(b, c, h * factor, w * factor, dtype=coarse.dtype)
    for y in range(h):
        for x in range(w):
            for p in range(factor):
                for q in range(factor):
                    cells = [p * factor + q + k * factor**2 for k in range(9)]
                    weights = logits[:, cells, y, x].softmax(-1)
                    for k in range(9):
                        row = min(max(y + k // 3 - 1, 0), h - 1)
                        column = min(max(x + k % 3 - 1, 0), w - 1)
                        fine[:, :, y * factor + p, x * factor + q] += (
                            weights[:, k, None] * coarse[:, :, row, column]
                        )
    return fine


def maps_of(h: int, w: int, factor: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 3, h, w, dtype=torch.float64, generator=generator)
    logits = torch.randn(2, 9 * factor**2, h, w, dtype=torch.float64, generator=generator)
    return coarse, logits


def test_equals_averaging_cell_by_cell() -> None:
    coarse, logits = maps_of(3, 2, 4)
    found = convex_upsample(coarse, logits, 4)
    torch.testing.assert_close(found, slow_upsample(coarse, logits, 4), rtol=1e-12, atol=1e-12)


def test_a_constant_stays_constant_up_to_the_border() -> None:
    _, logits = maps_of(3, 4, 8)
    constant = torch.full((2, 1, 3, 4), 2.5, dtype=torch.float64)
    torch.testing.assert_close(
        convex_upsample(constant, logits, 8), torch.full((2, 1, 24, 32), 2.5).double()
    )


def test_gradient() -> None:
    coarse, logits = maps_of(2, 2, 2)
    arguments = (coarse.requires_grad_(), logits.requires_grad_())
    assert torch.autograd.gradcheck(lambda c, w: convex_upsample(c, w, 2), arguments)

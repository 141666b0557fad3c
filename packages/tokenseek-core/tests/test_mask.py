from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tokenseek_core._mask import mask_rows


@pytest.mark.parametrize("form", ["none", "padding", "boolean", "additive"])
@pytest.mark.parametrize("length", [13, 16])
def test_rows_of_a_mask_begin_at_aligned_places_whatever_its_form(form: str, length: int) -> None:
    allowed = torch.ones(2, length, length).tril().bool()
    allowed[1, :, :2] = False
    additive = torch.zeros(2, 1, length, length).masked_fill(~allowed[:, None], -torch.inf)
    mask: dict[str, Tensor | None] = {
        "none": None,
        "padding": allowed[:, -1].long(),
        "boolean": allowed[:, None],
        "additive": additive,
    }
    if form == "none":
        allowed[1, :, :2] = torch.ones(length, length).tril().bool()[:, :2]
    slots = torch.tensor([[3, 5, 12], [4, 5, 11]])
    rows = mask_rows(
        mask[form], slots, length, causal=True, window=None, dtype=torch.float32, repeats=2
    )
    assert rows.shape == (2, 1, 2, 3, length)
    assert all(stride % 8 == 0 for stride in rows.stride()[:-1])
    expected = torch.stack([allowed[i, slots[i]] for i in range(2)])
    for repeated in rows[:, 0].unbind(1):
        assert torch.equal(repeated == 0, expected)
        assert torch.equal(repeated == torch.finfo(torch.float32).min, ~expected)

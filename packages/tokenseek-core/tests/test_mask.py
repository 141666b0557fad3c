from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from exact import assert_exact, exact_model
from families import tiny_batch
from taken import always
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


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
@pytest.mark.parametrize("padding", ["none", "left"])
def test_a_mask_that_is_not_repeated_for_the_heads_of_a_group_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, family: str, padding: str
) -> None:
    monkeypatch.setattr("tokenseek_core._replay.MASK_BYTES", 1)
    calls: list[tuple[int, ...]] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def spy(query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if kwargs.get("attn_mask") is not None:
            calls.append(tuple(kwargs["attn_mask"].shape))
        return attend(query, *args, **kwargs)

    monkeypatch.setattr("tokenseek_core._replay.F.scaled_dot_product_attention", spy)
    assert_exact(exact_model(monkeypatch, family), tiny_batch(padding), always(0.3, check=False))
    assert (3, 1, 6, 20) in calls

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tokenseek_common import InputError
from tokenseek_common.rows import RowSelection

KEPT = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()

masks = st.integers(1, 4).flatmap(
    lambda b: st.integers(1, 7).flatmap(
        lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=b, max_size=b)
    )
)


def expected_slots(kept: list[bool], k: int) -> list[int]:
    """The kept rows, and the first of the others where they are fewer than k."""
    chosen = [j for j, keep in enumerate(kept) if keep]
    others = [j for j, keep in enumerate(kept) if not keep]
    return sorted(chosen + others[: k - len(chosen)])


def test_a_mask_becomes_slots_in_order_and_shorter_selections_are_filled_up() -> None:
    selection = RowSelection.of(KEPT)
    assert selection.slots.tolist() == [[1, 3, 4], [0, 1, 2], [0, 1, 2]]
    assert selection.active.tolist() == [[True] * 3, [False, False, True], [False] * 3]
    assert (selection.length, selection.prepended, dict(selection.routing)) == (5, 0, {})
    assert torch.equal(selection.selected, KEPT)


def test_prepended_rows_come_first_once_and_are_kept_in_every_instance() -> None:
    selection = RowSelection.of(KEPT).with_prepended(2)
    assert selection.slots.tolist() == [[0, 1, 3, 5, 6], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert selection.active.tolist() == [
        [True] * 5,
        [True, True, False, False, True],
        [True, True, False, False, False],
    ]
    assert (selection.length, selection.prepended) == (7, 2)
    assert torch.equal(selection.selected, torch.cat([torch.ones(3, 2).bool(), KEPT], dim=1))


@given(masks, st.integers(0, 4))
@settings(deadline=None)
def test_slots_active_rows_and_the_mask_say_the_same(kept: list[list[bool]], p: int) -> None:
    selection = RowSelection.of(torch.tensor(kept)).with_prepended(p)
    k = max(1, *(sum(row) for row in kept), 0)
    whole = [[True] * p + row for row in kept]
    expected = [[*range(p), *(p + slot for slot in expected_slots(row, k))] for row in kept]
    assert selection.slots.tolist() == expected
    assert selection.selected.tolist() == whole
    assert selection.active.tolist() == [
        [row[slot] for slot in slots] for row, slots in zip(whole, expected, strict=True)
    ]


@given(masks, st.integers(0, 3), st.sampled_from([(), (3,), (2, 3)]))
@settings(deadline=None)
def test_rows_gathered_and_merged_again_change_nothing_but_what_carries_gradient(
    kept: list[list[bool]], p: int, shape: tuple[int, ...]
) -> None:
    selection = RowSelection.of(torch.tensor(kept)).with_prepended(p)
    whole = torch.randn(len(kept), selection.length, *shape, dtype=torch.float64)
    live = selection.rows(whole).requires_grad_()
    merged = selection.merged(whole, live)
    assert torch.equal(merged, whole)

    upstream = torch.randn_like(whole)
    (gradient,) = torch.autograd.grad(merged, live, upstream)
    active = selection.active.reshape(selection.active.shape + (1,) * len(shape))
    assert torch.equal(gradient, selection.rows(upstream) * active)


def test_merging_equals_a_stop_gradient_on_the_rows_that_are_not_selected() -> None:
    """Eq. (1): the same value and the same gradient as where(selected, x, sg(x)) over all rows."""
    selection = RowSelection.of(KEPT).with_prepended(1)
    weight = torch.randn(4, dtype=torch.float64, requires_grad=True)
    inputs = torch.randn(3, 6, 4, dtype=torch.float64)
    upstream = torch.randn_like(inputs)

    x = inputs * weight
    keep = selection.selected[..., None]
    (expected,) = torch.autograd.grad(torch.where(keep, x, x.detach()), weight, upstream)
    live = selection.rows(inputs) * weight
    (found,) = torch.autograd.grad(selection.merged(x, live), weight, upstream)
    torch.testing.assert_close(found, expected)


def test_what_is_recorded_gets_no_gradient_and_is_not_written_to() -> None:
    selection = RowSelection.of(KEPT)
    recorded = torch.zeros(3, 5, requires_grad=True)
    merged = selection.merged(recorded, torch.ones(3, 3))
    assert not merged.requires_grad
    assert torch.equal(merged, KEPT.float())
    assert torch.equal(recorded, torch.zeros(3, 5))


def test_routing_is_what_was_kept_under_the_name_of_the_layer() -> None:
    chosen: dict[str, Tensor] = {"layers.0": torch.tensor([[2], [0], [1]])}
    selection = RowSelection(torch.tensor([[1]]), torch.tensor([[True]]), 3, routing=chosen)
    assert selection.with_prepended(4).routing_of("layers.0") is chosen["layers.0"]
    with pytest.raises(InputError) as refused:
        selection.routing_of("layers.1")
    assert str(refused.value) == (
        "layer (layers.1) must be one that was routed in the recorded pass, as were layers.0; "
        "record the model that is replayed"
    )
    with pytest.raises(InputError, match="as were none;"):
        RowSelection.of(KEPT).routing_of("layers.0")


def test_rows_are_put_in_front_once() -> None:
    with pytest.raises(InputError) as refused:
        RowSelection.of(KEPT).with_prepended(2).with_prepended(2)
    assert str(refused.value) == (
        "prepended (2) must be 0 before rows are put in front, they stand there once; extend the "
        "selection of the tokens"
    )
    with pytest.raises(InputError) as refused:
        RowSelection.of(KEPT).with_prepended(-1)
    assert str(refused.value) == "count (-1) must be at least 0; 0 is none"


def test_a_tensor_without_the_rows_in_front_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        RowSelection.of(KEPT).with_prepended(2).rows(torch.zeros(3, 5))
    assert str(refused.value) == (
        "tensor (5 rows) must have all 7 rows, those in front and padding too; give it before any "
        "are taken"
    )

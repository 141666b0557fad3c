from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokenseek_common import InputError
from tokenseek_common.data import train_eval_split


@given(st.integers(2, 40), st.integers(0, 5), st.data())
def test_a_split_keeps_every_item_once_and_in_order(
    count: int, seed: int, drawn: st.DataObject
) -> None:
    held = drawn.draw(st.integers(1, count - 1))
    train, evaluation = train_eval_split(range(count), eval_size=held, seed=seed)
    assert len(evaluation) == held
    assert sorted(train + evaluation) == list(range(count))
    assert train == sorted(train)
    assert evaluation == sorted(evaluation)


def test_the_seed_alone_decides_the_split() -> None:
    first = train_eval_split(range(50), eval_size=10, seed=1)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert train_eval_split(range(50), eval_size=10, seed=1) == first
    assert train_eval_split(range(50), eval_size=10, seed=2) != first
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("share", "held"), [(0.1, 2), (0.001, 1), (0.5, 10)])
def test_a_share_is_rounded_to_at_least_one_item(share: float, held: int) -> None:
    assert len(train_eval_split(range(20), eval_size=share)[1]) == held


@pytest.mark.parametrize(
    ("count", "eval_size", "told"),
    [
        (
            5,
            1.5,
            "eval_size (1.5) must be a number of items or a share between 0 and 1; "
            "write 100 or 0.1",
        ),
        (
            5,
            5,
            "eval_size (5) must leave items for both parts of 5; "
            "choose another share or give more records",
        ),
        (
            1,
            0.1,
            "eval_size (0.1) must leave items for both parts of 1; "
            "choose another share or give more records",
        ),
        (
            5,
            0,
            "eval_size (0) must leave items for both parts of 5; "
            "choose another share or give more records",
        ),
    ],
)
def test_a_split_with_an_empty_part_is_told(count: int, eval_size: Any, told: str) -> None:
    with pytest.raises(InputError) as error:
        train_eval_split(range(count), eval_size=eval_size)
    assert str(error.value) == told

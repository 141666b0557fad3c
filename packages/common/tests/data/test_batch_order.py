from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenseek_common import InputError
from tokenseek_common.data import BatchOrder

lengths_of_any = st.lists(st.integers(1, 50), min_size=1, max_size=80)
options_of_any = st.sampled_from(
    [
        {"batch_size": 4},
        {"batch_size": 4, "by_length": True},
        {"max_tokens": 100},
        {"max_tokens": 100, "packed": True},
    ]
)


@given(lengths_of_any, options_of_any, st.booleans(), st.integers(0, 3))
def test_every_example_comes_once_an_epoch_in_an_order_of_the_seed_alone(
    lengths: list[int], options: dict[str, Any], shuffle: bool, epoch: int
) -> None:
    order, same = (BatchOrder(lengths, shuffle=shuffle, seed=3, **options) for _ in range(2))
    same.set_epoch(epoch)
    batches = order.batches(epoch)
    assert batches == list(same)
    assert len(same) == len(batches)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))


@given(lengths_of_any)
def test_a_padded_batch_keeps_to_its_budget(lengths: list[int]) -> None:
    for batch in BatchOrder(lengths, max_tokens=100):
        assert len(batch) * max(lengths[place] for place in batch) <= 100


@given(lengths_of_any)
def test_a_packed_batch_keeps_to_its_budget(lengths: list[int]) -> None:
    for batch in BatchOrder(lengths, max_tokens=100, packed=True):
        assert sum(lengths[place] for place in batch) <= 100


def test_examples_of_a_like_length_go_together() -> None:
    lengths = [place * 37 % 101 + 1 for place in range(3000)]

    def padding(**options: Any) -> int:
        batches = [[lengths[place] for place in batch] for batch in BatchOrder(lengths, **options)]
        return sum(len(batch) * max(batch) - sum(batch) for batch in batches)

    assert padding(batch_size=10) > 0.6 * sum(lengths)
    assert padding(batch_size=10, by_length=True) < 0.02 * sum(lengths)
    assert padding(max_tokens=600) < 0.03 * sum(lengths)
    sizes = [len(batch) for batch in BatchOrder(lengths, batch_size=48, by_length=True)]
    assert sorted(sizes)[:2] == [3000 % 48, 48]


def test_packing_leaves_little_room() -> None:
    lengths = [place * 37 % 101 + 1 for place in range(3000)]
    rows = list(BatchOrder(lengths, max_tokens=512, packed=True))
    assert sum(lengths) > 0.98 * 512 * len(rows)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    order = BatchOrder([1] * 20, batch_size=3, seed=1)
    other = BatchOrder([1] * 20, batch_size=3, seed=2)
    drawn = [order.batches(0), order.batches(1), other.batches(0), other.batches(1)]
    assert all(drawn.count(batches) == 1 for batches in drawn)


@pytest.mark.parametrize(
    ("lengths", "options", "told"),
    [
        ([], {"batch_size": 2}, "examples (0) must be at least one; give more records"),
        (
            [1],
            {},
            "batch_size (None) or max_tokens (None) must be given, and not both; choose one of "
            "them",
        ),
        (
            [1],
            {"batch_size": 1, "max_tokens": 2},
            "batch_size (1) or max_tokens (2) must be given, and not both; choose one of them",
        ),
        ([1], {"batch_size": 0}, "batch_size (0) must be at least 1; choose a larger one"),
        (
            [1],
            {"batch_size": 1, "packed": True},
            "packed (True) must come with max_tokens, which a row of several examples may have; "
            "give it in place of batch_size",
        ),
        (
            [3, 7],
            {"max_tokens": 6},
            "max_tokens (6) must be at least 7, the tokens of the longest example; raise it, or "
            "cut the examples",
        ),
    ],
)
def test_what_cannot_be_ordered_is_told(
    lengths: list[int], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError) as error:
        BatchOrder(lengths, **options)
    assert str(error.value) == told

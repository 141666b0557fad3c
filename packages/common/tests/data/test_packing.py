from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokenseek_common import InputError
from tokenseek_common.data import (
    IGNORE_INDEX,
    Example,
    PackingCollator,
    pack_batch,
    pack_lengths,
)

EXAMPLES = [Example([5, 6, 7], [IGNORE_INDEX, 6, 7]), Example([8, 9], [8, 9])]


def test_examples_stand_one_behind_another_in_one_row() -> None:
    batch = pack_batch(EXAMPLES)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[5, 6, 7, 8, 9]],
        "position_ids": [[0, 1, 2, 0, 1]],
        "labels": [[IGNORE_INDEX, 6, 7, IGNORE_INDEX, 9]],
    }
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_the_filling_is_a_sequence_of_its_own() -> None:
    mappings = [{"input_ids": e.input_ids, "labels": e.labels} for e in EXAMPLES]
    batch = PackingCollator(pad_token_id=1, pad_to_multiple_of=4)(mappings)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 1, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]
    assert batch["labels"][0, 5:].tolist() == [IGNORE_INDEX] * 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"examples": []}, "examples (0) must be at least one; give a batch with something in it"),
        (
            {"pad_token_id": -1},
            "pad_token_id (-1) must be the number of a token; give the tokenizer's end-of-sequence "
            "token if it has no other",
        ),
        (
            {"pad_to_multiple_of": 0},
            "pad_to_multiple_of (0) must be at least 1; leave it out for no rounding",
        ),
    ],
)
def test_what_cannot_be_packed_is_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as error:
        pack_batch(**{"examples": EXAMPLES, **options})
    assert str(error.value) == told


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60), st.integers(20, 30))
def test_every_example_is_packed_once_and_no_two_rows_would_fit_into_one(
    lengths: list[int], max_tokens: int
) -> None:
    rows = pack_lengths(lengths, max_tokens)
    assert sorted(place for row in rows for place in row) == list(range(len(lengths)))
    sums = sorted(sum(lengths[place] for place in row) for row in rows)
    assert sums[-1] <= max_tokens
    assert len(rows) == 1 or sums[0] + sums[1] > max_tokens


def test_the_tightest_row_is_filled() -> None:
    assert pack_lengths([2, 6, 7, 3], 9) == [[2, 0], [1, 3]]

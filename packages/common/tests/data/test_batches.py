from __future__ import annotations

from typing import Any, Literal, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokenseek_common import InputError
from tokenseek_common.data import (
    IGNORE_INDEX,
    Example,
    PaddingCollator,
    pad_batch,
)

PAD = 9
example_lists = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=6).map(
        lambda tokens: Example(
            [token for token, _ in tokens],
            [token if learnt else IGNORE_INDEX for token, learnt in tokens],
        )
    ),
    min_size=1,
    max_size=4,
)
sides = st.sampled_from(["left", "right"])


def numbered(count: int) -> list[Example]:
    return [Example([i] * (i + 1), [i] * (i + 1)) for i in range(count)]


@given(example_lists, sides, st.sampled_from([None, 1, 4]))
def test_padding_taken_away_gives_the_examples_back(
    examples: list[Example], side: Literal["left", "right"], multiple: int | None
) -> None:
    batch = pad_batch(examples, pad_token_id=PAD, padding_side=side, pad_to_multiple_of=multiple)
    width = batch["input_ids"].shape[1]
    assert width % (multiple or 1) == 0
    for row, example in enumerate(examples):
        true = batch["attention_mask"][row].bool()
        assert batch["input_ids"][row][true].tolist() == example.input_ids
        assert batch["labels"][row][true].tolist() == example.labels
        assert batch["input_ids"][row][~true].eq(PAD).all()
        assert batch["labels"][row][~true].eq(IGNORE_INDEX).all()
        outer = 0 if side == "right" else width - 1
        assert not example.input_ids or true[outer]


def test_a_batch_is_long_and_alike_in_shape() -> None:
    batch = pad_batch(numbered(3), pad_token_id=PAD)
    assert list(batch) == ["input_ids", "attention_mask", "labels"]
    assert {(tuple(tensor.shape), tensor.dtype) for tensor in batch.values()} == {
        ((3, 3), torch.int64)
    }


def test_the_collator_takes_mappings_as_well_as_examples() -> None:
    collator = PaddingCollator(PAD, "left", 2)
    examples = numbered(3)
    rows = [{"input_ids": each.input_ids, "labels": each.labels} for each in examples]
    batch, same = collator(examples), collator(rows)
    assert all(torch.equal(batch[name], same[name]) for name in batch)
    assert batch["input_ids"].tolist() == [[9, 9, 9, 0], [9, 9, 1, 1], [9, 2, 2, 2]]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"examples": []},
            "examples (0) must be at least one; give a batch with something in it",
        ),
        (
            {"padding_side": "top"},
            "padding_side (top) must be left or right; choose one of them",
        ),
        (
            {"pad_token_id": None},
            "pad_token_id (None) must be the number of a token; give the tokenizer's "
            "end-of-sequence token if it has no other",
        ),
        (
            {"pad_to_multiple_of": 0},
            "pad_to_multiple_of (0) must be at least 1; leave it out for no rounding",
        ),
    ],
)
def test_what_cannot_be_padded_is_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as error:
        pad_batch(**{"examples": numbered(1), "pad_token_id": PAD, **options})
    assert str(error.value) == told


def test_a_collator_without_a_padding_token_is_refused() -> None:
    with pytest.raises(InputError) as error:
        PaddingCollator(cast(Any, None))
    assert str(error.value) == (
        "pad_token_id (None) must be the number of a token; give the tokenizer's end-of-sequence "
        "token if it has no other"
    )

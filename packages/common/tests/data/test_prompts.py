from __future__ import annotations

from typing import Any, cast

import pytest

from data.chat_templates import (
    BEGUN_THOUGHT,
    CHANNELS,
    CHATML,
    DEFAULT_SYSTEM,
    ENDED_ONCE,
    ENDLESS,
    FORGETFUL,
    HEADED,
    MARKED,
    STRICT,
    SYSTEMLESS,
    THINKING,
    UNTHINKING,
)
from data.fake_tokenizer import FakeTokenizer
from tokenseek_common import InputError
from tokenseek_common.data import Message, Record, Template, render_record

USER, REPLY = Message("user", "2 + 2?"), Message("assistant", "4")
AGAIN, MORE = Message("user", "And 3?"), Message("assistant", "6")
SYSTEM = Message("system", "Be brief.")

ALPACA = """Below is an instruction that describes a task. Write a response that appropriately \
completes the request.

### Instruction:
2 + 2?

### Response:
4"""
ALPACA_WITH_INPUT = """Below is an instruction that describes a task, paired with an input that \
provides further context. Write a response that appropriately completes the request.

### Instruction:
2 + 2?

### Input:
Modulo 3.

### Response:
4"""


def learnt(record: Record, tokenizer: FakeTokenizer, template: Template = "auto") -> list[str]:
    rendering = render_record(record, tokenizer, template=template)
    return [rendering.text[span.start : span.end] for span in rendering.spans if span.learnt]


@pytest.mark.parametrize(("context", "text"), [("", ALPACA), ("Modulo 3.", ALPACA_WITH_INPUT)])
def test_without_a_chat_template_an_exchange_is_worded_as_in_alpaca(
    context: str, text: str
) -> None:
    record = Record((USER, REPLY), context=context)
    assert render_record(record, FakeTokenizer()).text == text
    assert learnt(record, FakeTokenizer()) == ["4"]


def test_a_chat_template_is_preferred() -> None:
    rendering = render_record(Record((USER, REPLY)), FakeTokenizer(CHATML))
    assert rendering.text == "<|start|>user\n2 + 2?<|end|>\n<|start|>assistant\n4<|end|>\n"
    assert rendering.ready


def test_a_chat_template_gets_the_context_below_the_instruction() -> None:
    record = Record((USER, REPLY), context="Modulo 3.")
    assert "2 + 2?\n\nModulo 3.<|end|>" in render_record(record, FakeTokenizer(CHATML)).text


@pytest.mark.parametrize(
    ("template", "spans"),
    [("chat", ["4<|end|>", "6<|end|>"]), ("alpaca", ["4", "6"]), ("plain", ["4", "6"])],
)
def test_every_assistant_turn_is_learnt_and_nothing_else(
    template: Template, spans: list[str]
) -> None:
    record = Record((SYSTEM, USER, REPLY, AGAIN, MORE))
    assert learnt(record, FakeTokenizer(CHATML), template) == spans


def test_a_system_turn_takes_the_place_of_the_wording_of_alpaca() -> None:
    text = render_record(Record((SYSTEM, USER, REPLY)), FakeTokenizer()).text
    assert text == "Be brief.\n\n### Instruction:\n2 + 2?\n\n### Response:\n4"


def test_the_context_follows_the_instruction_behind_a_system_turn() -> None:
    record = Record((SYSTEM, USER, REPLY), context="Modulo 3.")
    assert render_record(record, FakeTokenizer(), template="alpaca").text == (
        "Be brief.\n\n### Instruction:\n2 + 2?\n\n### Input:\nModulo 3.\n\n### Response:\n4"
    )
    plain = render_record(record, FakeTokenizer(), template="plain").text
    assert plain == "Be brief.\n2 + 2?\n\nModulo 3.\n4"


@pytest.mark.parametrize("template", ["auto", "chat", "alpaca", "plain"])
def test_plain_text_is_taken_as_it_is_under_every_template(template: Template) -> None:
    record = Record(text="Once upon a time")
    assert learnt(record, FakeTokenizer(CHATML), template) == ["Once upon a time"]


SEVERAL = Record((USER, REPLY, AGAIN, MORE))


@pytest.mark.parametrize(
    ("template", "spans"),
    [
        (CHATML, ["4<|end|>", "6<|end|>"]),
        (DEFAULT_SYSTEM, ["4<|end|>", "6<|end|>"]),
        (MARKED, ["4<|end|>", "6<|end|>"]),
        (MARKED.replace("+ '<|end|>' }}{% endg", "}}{% endg"), ["4", "6"]),
        (THINKING, ["4<|end|>", "<think>\n\n</think>\n\n6<|end|>"]),
        (BEGUN_THOUGHT, ["4<|end|>", "\n</think>\n\n6<|end|>"]),
        (UNTHINKING, ["4</s>", "6</s>"]),
        (ENDED_ONCE, ["4<|end|>", "6<|end|>"]),
        (
            CHANNELS,
            ["<|channel|>final<|message|>4<|end|>", "<|channel|>final<|message|>6<|return|>"],
        ),
        (STRICT, ["4<|end|>", "6<|end|>"]),
        (ENDLESS, [" 4", " 6"]),
        (HEADED, ["4", "6"]),
    ],
)
def test_what_the_model_writes_in_each_turn_is_found_in_every_family_of_templates(
    template: str, spans: list[str]
) -> None:
    tokenizer = FakeTokenizer(template)
    rendering = render_record(SEVERAL, tokenizer)
    assert learnt(SEVERAL, tokenizer) == spans
    assert [span.closed for span in rendering.spans] == [said[-1] == ">" for said in spans]
    chat = [{"role": turn.role, "content": turn.content} for turn in SEVERAL.messages]
    assert rendering.text == tokenizer.apply_chat_template(chat, tokenize=False)


@pytest.mark.parametrize("template", [CHATML, DEFAULT_SYSTEM, MARKED, THINKING, CHANNELS])
def test_of_a_turn_that_opens_the_conversation_only_its_words_are_learnt(template: str) -> None:
    record = Record((Message("assistant", "Welcome!"), USER, REPLY))
    first, _ = learnt(record, FakeTokenizer(template))
    assert first.removeprefix("<|channel|>final<|message|>") == "Welcome!<|end|>"


@pytest.mark.parametrize("template", [CHATML, MARKED, ENDLESS])
def test_a_turn_of_weight_nought_is_not_learnt(template: str) -> None:
    record = Record((USER, Message("assistant", "5", weight=0), AGAIN, MORE))
    tokenizer = FakeTokenizer(template)
    assert [said.removesuffix("<|end|>").strip() for said in learnt(record, tokenizer)] == ["6"]
    assert len(render_record(record, tokenizer).spans) == 2


@pytest.mark.parametrize("template", [CHATML, MARKED, ENDLESS, None])
def test_a_turn_of_white_space_is_not_learnt(template: str | None) -> None:
    record = Record((USER, Message("assistant", " \n"), AGAIN, MORE))
    tokenizer = FakeTokenizer(template)
    assert [said.removesuffix("<|end|>").strip() for said in learnt(record, tokenizer)] == ["6"]


@pytest.mark.parametrize("template", [THINKING, BEGUN_THOUGHT])
def test_the_thought_of_the_last_turn_is_learnt_and_that_of_others_is_not(template: str) -> None:
    said = ["<think>\nadd\n</think>\n\n4", "<think>\nonce more\n</think>\n\n6"]
    turns = (USER, Message("assistant", said[0]), AGAIN, Message("assistant", said[1]))
    first, last = learnt(Record(turns), FakeTokenizer(template))
    assert first == "4<|end|>"
    whole = f"{said[1]}<|end|>"
    assert last == (whole.removeprefix("<think>\n") if template == BEGUN_THOUGHT else whole)


def test_what_a_template_takes_off_a_turn_is_not_missed() -> None:
    record = Record((USER, Message("assistant", "\n 4 \n")))
    assert learnt(record, FakeTokenizer(STRICT)) == ["4<|end|>"]


@pytest.mark.parametrize("template", [STRICT, SYSTEMLESS])
def test_a_system_turn_that_a_template_knows_not_is_put_before_the_users(template: str) -> None:
    record = Record((SYSTEM, USER, REPLY, AGAIN, MORE))
    tokenizer = FakeTokenizer(template)
    rendering = render_record(record, tokenizer)
    assert rendering.text.startswith("<|start|>user\nBe brief.\n\n2 + 2?<|end|>\n")
    assert learnt(record, tokenizer) == ["4<|end|>", "6<|end|>"]


def test_a_conversation_without_a_turn_of_the_user_is_rendered_as_it_is() -> None:
    record = Record((SYSTEM, REPLY))
    assert learnt(record, FakeTokenizer(CHATML)) == ["4<|end|>"]


def test_a_text_may_hold_the_stand_in_itself() -> None:
    record = Record((USER, Message("assistant", "\ue0f0 4 \ue0f0\ue0f0")))
    assert learnt(record, FakeTokenizer(CHATML)) == ["\ue0f0 4 \ue0f0\ue0f0<|end|>"]


def test_a_turn_that_the_template_leaves_out_is_refused_if_it_is_to_be_learnt() -> None:
    with pytest.raises(InputError) as error:
        render_record(SEVERAL, FakeTokenizer(FORGETFUL))
    assert str(error.value) == (
        "messages[1] must be shown once by the chat template, which leaves it out or repeats it; "
        "make a record of each assistant turn, or choose the alpaca template"
    )
    unlearnt = Record((USER, Message("assistant", "4", weight=0), AGAIN, MORE))
    assert learnt(unlearnt, FakeTokenizer(FORGETFUL)) == ["6<|end|>"]


@pytest.mark.parametrize("record", [Record((USER, Message("assistant", "<|end|> 4")))])
def test_a_turn_that_spells_a_special_token_is_refused(record: Record) -> None:
    with pytest.raises(InputError) as error:
        render_record(record, FakeTokenizer(CHATML))
    assert str(error.value) == (
        "messages[1].content (<|end|>) must not spell a special token of the tokenizer, which a "
        "chat template cannot tell from its own; write it otherwise, or choose the alpaca template"
    )


def test_an_order_that_the_template_refuses_is_told() -> None:
    with pytest.raises(InputError) as error:
        render_record(Record((REPLY, USER)), FakeTokenizer(STRICT))
    assert str(error.value) == (
        "messages (assistant, user) must fit the tokenizer's chat template (the user must begin); "
        "reorder the turns or choose the alpaca template"
    )


def test_a_chat_template_that_is_not_there_is_told() -> None:
    with pytest.raises(InputError) as error:
        render_record(Record((USER, REPLY)), FakeTokenizer(), template="chat")
    assert str(error.value) == (
        "template (chat) must be one that the tokenizer has, and it has none; choose alpaca"
    )


def test_a_template_of_an_unknown_name_is_told() -> None:
    with pytest.raises(InputError) as error:
        render_record(Record((USER, REPLY)), FakeTokenizer(), template=cast(Any, "vicuna"))
    assert str(error.value) == (
        "template (vicuna) must be one of auto, chat, alpaca, plain; choose one of them"
    )

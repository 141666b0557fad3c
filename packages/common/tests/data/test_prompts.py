from __future__ import annotations

from typing import Any, cast

import pytest

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
    return [rendering.text[start:end] for start, end in rendering.spans]


@pytest.mark.parametrize(("context", "text"), [("", ALPACA), ("Modulo 3.", ALPACA_WITH_INPUT)])
def test_without_a_chat_template_an_exchange_is_worded_as_in_alpaca(
    context: str, text: str
) -> None:
    record = Record((USER, REPLY), context=context)
    assert render_record(record, FakeTokenizer()).text == text
    assert learnt(record, FakeTokenizer()) == ["4"]


def test_a_chat_template_is_preferred() -> None:
    rendering = render_record(Record((USER, REPLY)), FakeTokenizer("chatml"))
    assert rendering.text == "<|start|>user\n2 + 2?<|end|>\n<|start|>assistant\n4<|end|>\n"
    assert rendering.ready


def test_a_chat_template_gets_the_context_below_the_instruction() -> None:
    record = Record((USER, REPLY), context="Modulo 3.")
    assert "2 + 2?\n\nModulo 3.<|end|>" in render_record(record, FakeTokenizer("chatml")).text


@pytest.mark.parametrize(
    ("template", "spans"),
    [("chat", ["4<|end|>", "6<|end|>"]), ("alpaca", ["4", "6"]), ("plain", ["4", "6"])],
)
def test_every_assistant_turn_is_learnt_and_nothing_else(
    template: Template, spans: list[str]
) -> None:
    record = Record((SYSTEM, USER, REPLY, AGAIN, MORE))
    assert learnt(record, FakeTokenizer("chatml"), template) == spans


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
    assert learnt(record, FakeTokenizer("chatml"), template) == ["Once upon a time"]


def test_a_template_that_renders_a_turn_differently_later_on_is_refused() -> None:
    record = Record((USER, REPLY, AGAIN, MORE))
    with pytest.raises(InputError) as error:
        render_record(record, FakeTokenizer("forgetful"))
    assert str(error.value) == (
        "messages[1] must be rendered alike in every part of its conversation, which this chat "
        "template does not; make a record of each assistant turn, or choose the alpaca template"
    )


def test_an_order_that_the_template_refuses_is_told() -> None:
    with pytest.raises(InputError) as error:
        render_record(Record((REPLY, USER)), FakeTokenizer("chatml"))
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

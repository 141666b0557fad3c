from __future__ import annotations

import pytest

from tokenseek_common import InputError
from tokenseek_common.data import Message, Record, record_from_fields

EXCHANGE = (Message("user", "2 + 2?"), Message("assistant", "4"))
LAYOUTS = (
    "{messages}, {instruction, input, output}, {prompt, response}, {prompt, completion}, "
    "{question, answer} or {text}"
)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("prompt", "response"),
        ("prompt", "completion"),
        ("question", "answer"),
        ("instruction", "output"),
    ],
)
def test_a_pair_of_fields_is_a_user_turn_and_an_assistant_turn(asked: str, answered: str) -> None:
    assert record_from_fields({asked: "2 + 2?", answered: "4", "id": 7}) == Record(EXCHANGE)


@pytest.mark.parametrize("absent", ["", None])
def test_an_input_that_is_absent_gives_no_context(absent: str | None) -> None:
    row = {"instruction": "2 + 2?", "input": absent, "output": "4"}
    assert record_from_fields(row) == Record(EXCHANGE)


def test_the_input_of_an_instruction_is_its_context() -> None:
    row = {"instruction": "Translate.", "input": "chat", "output": "cat"}
    assert record_from_fields(row).context == "chat"


def test_messages_are_taken_turn_by_turn() -> None:
    row = {"messages": [{"role": turn.role, "content": turn.content} for turn in EXCHANGE]}
    assert record_from_fields(row) == Record(EXCHANGE)


def test_text_is_plain_text() -> None:
    assert record_from_fields({"text": "Once upon"}) == Record(text="Once upon")


def test_the_fields_of_an_instruction_come_before_its_rendered_text() -> None:
    row = {"instruction": "2 + 2?", "output": "4", "text": "Below is ..."}
    assert record_from_fields(row) == Record(EXCHANGE)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"q": "a", "label": 1}, f"fields (q, label) must fit {LAYOUTS}; rename the fields"),
        ({}, f"fields (none) must fit {LAYOUTS}; rename the fields"),
        ({"text": 3}, "text (number) must be text; write it as a string"),
        ({"text": True}, "text (true/false) must be text; write it as a string"),
        (
            {"prompt": "a", "response": None},
            "response (null) must be text; write it as a string",
        ),
        (
            {"instruction": "a", "input": ["b"], "output": "c"},
            "input (list) must be text; write it as a string",
        ),
        (
            {"messages": "hi"},
            "messages (text) must be a list of {role, content}; rewrite it as one",
        ),
        (
            {"messages": []},
            "a record must hold either messages or text; give exactly one of them",
        ),
        (
            {"messages": [{"role": "user"}]},
            "messages[0] (object) must be an object with role and content; add what is missing",
        ),
        (
            {"messages": ["hi"]},
            "messages[0] (text) must be an object with role and content; add what is missing",
        ),
        (
            {"messages": [{"role": "bot", "content": "hi"}]},
            "messages[0].role (bot) must be one of system, user, assistant; rename it",
        ),
        (
            {"messages": [{"role": "user", "content": {"a": 1}}]},
            "messages[0].content (object) must be text; write it as a string",
        ),
        (
            {"messages": [{"role": "user", "content": "hi"}]},
            "messages must hold an assistant turn; add the reply that is to be learnt",
        ),
        (
            {"text": "half \ud800"},
            "text must be valid Unicode; remove the lone surrogates (\\ud800 to \\udfff)",
        ),
    ],
)
def test_a_row_that_fits_no_layout_is_told_what_to_mend(row: dict[str, object], told: str) -> None:
    with pytest.raises(InputError) as error:
        record_from_fields(row)
    assert str(error.value) == told


def test_a_record_is_either_a_conversation_or_text() -> None:
    with pytest.raises(InputError, match="must hold either messages or text"):
        Record(EXCHANGE, text="both")

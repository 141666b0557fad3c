from __future__ import annotations

from collections.abc import Mapping

import pytest

from tokenseek_common import InputError
from tokenseek_common.data import Message, Record, record_from_fields

EXCHANGE = (Message("user", "2 + 2?"), Message("assistant", "4"))
LAYOUTS = (
    "{messages}, {conversations}, {instruction, input, output}, {prompt, response}, "
    "{prompt, completion}, {question, answer}, {prompt, chosen}, {chosen, rejected} or {text}"
)


def turns(*contents: str) -> list[dict[str, object]]:
    """A conversation that the user begins."""
    roles = ("user", "assistant") * len(contents)
    return [{"role": role, "content": said} for role, said in zip(roles, contents, strict=False)]


def weights(row: Mapping[str, object]) -> list[tuple[str, int]]:
    return [(turn.content, turn.weight) for turn in record_from_fields(row).messages]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("prompt", "response"),
        ("prompt", "completion"),
        ("question", "answer"),
        ("instruction", "output"),
        ("prompt", "chosen"),
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


def test_a_turn_may_be_weighed_nought_and_is_context_then() -> None:
    row = {"messages": [*turns("a", "b", "c", "d")]}
    row["messages"][1]["weight"] = 0
    row["messages"][3]["weight"] = None
    record = record_from_fields(row)
    assert [turn.weight for turn in record.messages] == [1, 0, 1, 1]
    assert [turn.learnt for turn in record.messages] == [False, False, False, True]


def test_conversations_are_taken_as_sharegpt_writes_them() -> None:
    said = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "2 + 2?"},
        {"from": "gpt", "value": "4", "weight": 0},
        {"from": "user", "value": "Sure?"},
        {"from": "assistant", "value": "Yes"},
    ]
    assert record_from_fields({"conversations": said, "id": "x"}).messages == (
        Message("system", "Be brief."),
        Message("user", "2 + 2?"),
        Message("assistant", "4", 0),
        Message("user", "Sure?"),
        Message("assistant", "Yes"),
    )


def test_conversations_may_name_their_roles_as_messages_do() -> None:
    assert record_from_fields({"conversations": turns("2 + 2?", "4")}) == Record(EXCHANGE)


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "2 "}, {"type": "text", "text": "+ 2?"}]
    row = {"messages": [{"role": "user", "content": parts}, *turns("", "4")[1:]]}
    assert record_from_fields(row) == Record(EXCHANGE)


@pytest.mark.parametrize("answered", ["chosen", "completion"])
def test_of_a_prompt_in_messages_no_turn_is_learnt(answered: str) -> None:
    row = {"prompt": turns("a", "b", "c"), answered: turns("", "d")[1:], "rejected": "e"}
    assert weights(row) == [("a", 1), ("b", 0), ("c", 1), ("d", 1)]


@pytest.mark.parametrize(
    ("chosen", "rejected", "learnt"),
    [
        (["a", "b", "c", "d"], ["a", "b", "c", "e"], ["d"]),
        (["a", "b", "c", "d"], ["a", "e"], ["b", "d"]),
        (["a", "b", "c", "d"], ["a", "b"], ["d"]),
        (["a", "b"], ["a", "b", "c", "d"], ["b"]),
        (["a", "b", "c", "d"], ["a", "b", "c", "d"], ["d"]),
    ],
)
def test_of_two_conversations_the_chosen_one_is_learnt_from_where_they_part(
    chosen: list[str], rejected: list[str], learnt: list[str]
) -> None:
    row = {"chosen": turns(*chosen), "rejected": turns(*rejected)}
    record = record_from_fields(row)
    assert [turn.content for turn in record.messages] == chosen
    assert [turn.content for turn in record.messages if turn.learnt] == learnt


def test_a_field_without_a_value_counts_as_absent_where_another_layout_fits() -> None:
    row = {"messages": None, "prompt": "2 + 2?", "response": "4", "text": None}
    assert record_from_fields(row) == Record(EXCHANGE)


@pytest.mark.parametrize("content", ["", " \n\t"])
def test_an_answer_of_white_space_is_nothing_to_learn(content: str) -> None:
    assert not record_from_fields({"prompt": "a", "response": content}).learnt
    assert not record_from_fields({"text": content}).learnt
    assert record_from_fields({"messages": turns("a", content, "b", "c")}).learnt


def test_a_weight_is_nought_or_one() -> None:
    with pytest.raises(InputError) as error:
        Record((*EXCHANGE, Message("assistant", "5", 2)))
    assert str(error.value) == (
        "messages[2].weight (2) must be 0 or 1; leave it out for a turn that is to be learnt"
    )


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
            {"conversations": {"from": "human"}},
            "conversations (object) must be a list of {role, content}; rewrite it as one",
        ),
        (
            {"chosen": "Human: a Assistant: b", "rejected": "Human: a Assistant: c"},
            "chosen (text) must be a list of {role, content}; rewrite it as one",
        ),
        (
            {"messages": [{"role": "assistant", "content": "a", "weight": "0"}]},
            "messages[0].weight (0) must be 0 or 1; leave it out for a turn that is to be learnt",
        ),
        (
            {"messages": [{"role": "assistant", "content": "a", "weight": 0.5}]},
            "messages[0].weight (0.5) must be 0 or 1; leave it out for a turn that is to be learnt",
        ),
        (
            {"messages": [{"role": "assistant", "content": "a", "weight": 0}]},
            "messages must hold an assistant turn of weight 1; weigh the reply that is to be "
            "learnt so",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0] (image_url) must be a part of type text; leave other parts out",
        ),
        (
            {"messages": [{"role": "user", "content": ["a"]}]},
            "messages[0].content[0] (text) must be a part of type text; leave other parts out",
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

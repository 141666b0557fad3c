"""A record is a conversation or a piece of plain text; its layout is told by its field names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokenseek_common._errors import InputError

ROLES = ("system", "user", "assistant")
LAYOUTS = (
    "{messages}, {instruction, input, output}, {prompt, response}, {prompt, completion}, "
    "{question, answer} or {text}"
)
# In the order of preference: the Alpaca set on the hub carries a rendered `text` beside its fields.
_PAIRS = (("prompt", "response"), ("prompt", "completion"), ("question", "answer"))


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Args:
        role: ``"system"``, ``"user"`` or ``"assistant"``.
        content: What was said.
    """

    role: str
    content: str


@dataclass(frozen=True)
class Record:
    """A conversation with at least one assistant turn, or plain text; never both.

    Args:
        messages: The turns, oldest first; empty for plain text.
        context: What the instruction is about (the ``input`` of an Alpaca record). A chat template
            gets it below the instruction, the Alpaca template under a heading of its own.
        text: Plain text; None for a conversation.

    Raises:
        InputError: If there are both messages and text or neither, if a role is unknown, or if no
            turn is the assistant's.

    Example:
        >>> Record((Message("user", "2 + 2?"), Message("assistant", "4"))).messages[1].content
        '4'
    """

    messages: tuple[Message, ...] = ()
    context: str = ""
    text: str | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (not self.messages):
            raise InputError("a record must hold either messages or text; give exactly one of them")
        for position, message in enumerate(self.messages):
            if message.role not in ROLES:
                raise InputError(
                    f"messages[{position}].role ({message.role}) must be one of "
                    f"{', '.join(ROLES)}; rename it"
                )
        if self.messages and all(message.role != "assistant" for message in self.messages):
            raise InputError(
                "messages must hold an assistant turn; add the reply that is to be learnt"
            )


def record_from_fields(fields: Mapping[str, object]) -> Record:
    """Recognise the layout of one row by its field names; fields beyond the layout are ignored.

    Args:
        fields: One row of a data set: ``{messages}``, ``{instruction, input, output}`` (``input``
            may be absent), ``{prompt, response}``, ``{prompt, completion}``, ``{question, answer}``
            or ``{text}``. Where several layouts fit, the first in this order is taken.

    Returns:
        The record.

    Raises:
        InputError: If no layout fits or a value is not text.

    Example:
        >>> record_from_fields({"question": "2 + 2?", "answer": "4"}).messages[0]
        Message(role='user', content='2 + 2?')
    """
    if "messages" in fields:
        return Record(_messages(fields["messages"]))
    if "instruction" in fields and "output" in fields:
        # The hub gives None for an input that is absent.
        context = "" if fields.get("input") is None else text_value(fields["input"], "input")
        return _exchange(fields, "instruction", "output", context)
    for asked, answered in _PAIRS:
        if asked in fields and answered in fields:
            return _exchange(fields, asked, answered, "")
    if "text" in fields:
        return Record(text=text_value(fields["text"], "text"))
    found = ", ".join(map(str, fields)) or "none"
    raise InputError(f"fields ({found}) must fit {LAYOUTS}; rename the fields")


def _exchange(fields: Mapping[str, object], asked: str, answered: str, context: str) -> Record:
    question = Message("user", text_value(fields[asked], asked))
    answer = Message("assistant", text_value(fields[answered], answered))
    return Record((question, answer), context=context)


def _messages(turns: object) -> tuple[Message, ...]:
    if not isinstance(turns, list | tuple):
        raise InputError(
            f"messages ({kind_of(turns)}) must be a list of {{role, content}}; rewrite it as one"
        )
    messages = []
    for position, turn in enumerate(turns):
        name = f"messages[{position}]"
        if not isinstance(turn, Mapping) or not {"role", "content"} <= turn.keys():
            raise InputError(
                f"{name} ({kind_of(turn)}) must be an object with role and content; "
                "add what is missing"
            )
        messages.append(
            Message(
                text_value(turn["role"], f"{name}.role"),
                text_value(turn["content"], f"{name}.content"),
            )
        )
    return tuple(messages)


def text_value(value: object, name: str) -> str:
    """A value that must be text, with its name for the error."""
    if not isinstance(value, str):
        raise InputError(f"{name} ({kind_of(value)}) must be text; write it as a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can spell half of a surrogate pair, which no tokenizer accepts.
        raise InputError(
            f"{name} must be valid Unicode; remove the lone surrogates (\\ud800 to \\udfff)"
        ) from None
    return value


def kind_of(value: object) -> str:
    """The JSON name of a value's type, for errors: to quote the value would take a page."""
    if value is None:
        return "null"
    names: dict[type, str] = {
        bool: "true/false",
        int: "number",
        float: "number",
        str: "text",
        list: "list",
        dict: "object",
    }
    return names.get(type(value), type(value).__name__)

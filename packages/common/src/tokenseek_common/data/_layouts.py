"""A row of a data set to a record: its layout is told by its field names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from tokenseek_common._errors import InputError
from tokenseek_common.data._records import Message, Preference, Record
from tokenseek_common.data._values import kind_of, text_value

Row: TypeAlias = Mapping[str, object]

_SAID = (("role", "content"), ("from", "value"))  # the latter as ShareGPT writes it
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant"}


def record_from_fields(fields: Mapping[str, object]) -> Record:
    """Recognise the layout of one row by its field names; fields beyond the layout are ignored.

    Args:
        fields: One row of a data set: ``{messages}`` of role, content and perhaps weight;
            ``{conversations}`` of the same or of from and value; ``{instruction, input, output}``
            (``input`` may be absent); ``{prompt, response}``, ``{prompt, completion}``,
            ``{question, answer}``; preferences ``{prompt, chosen}`` or ``{chosen, rejected}``; or
            ``{text}``. Where several layouts fit, the first in this order is taken; a field that is
            None counts as absent where another layout fits.

            Prompt, completion and chosen are text or messages. Of a prompt in messages no turn is
            learnt, nor of a preference without a prompt what both conversations begin with.

    Returns:
        The record.

    Raises:
        InputError: If no layout fits or a value is not text.

    Example:
        >>> record_from_fields({"question": "2 + 2?", "answer": "4"}).messages[0]
        Message(role='user', content='2 + 2?', weight=1)
    """
    filled = {name for name, value in fields.items() if value is not None}
    for present in (filled, fields.keys()):
        for names, read in _LAYOUTS:
            if present >= set(names):
                return read(fields, *names)
    found = ", ".join(map(str, fields)) or "none"
    raise InputError(f"fields ({found}) must fit {_TOLD}; rename the fields")


def preference_from_fields(fields: Mapping[str, object]) -> Preference:
    """Read both answers of a row.

    Args:
        fields: ``{prompt, chosen, rejected}``, each text or messages; or ``{chosen, rejected}``,
            two conversations.

    Raises:
        InputError: Fields are missing, or a value is not text.

    Example:
        >>> row = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}
        >>> preference_from_fields(row).rejected.messages[1].content
        '5'
    """
    filled = {name for name, value in fields.items() if value is not None}
    if not filled >= {"chosen", "rejected"}:
        found = ", ".join(map(str, fields)) or "none"
        raise InputError(
            f"fields ({found}) must fit {{prompt, chosen, rejected}} or {{chosen, rejected}}; "
            "rename the fields"
        )
    if "prompt" in filled:
        return Preference(*(_exchange(fields, "prompt", name) for name in ("chosen", "rejected")))
    return Preference(
        _preference(fields, "chosen", "rejected"), _preference(fields, "rejected", "chosen")
    )


def _conversation(row: Row, name: str) -> Record:
    return Record(_messages(row[name], name))


def _instruction(row: Row, asked: str, answered: str) -> Record:
    # The hub gives None for an input that is absent.
    context = "" if row.get("input") is None else text_value(row["input"], "input")
    return replace(_exchange(row, asked, answered), context=context)


def _exchange(row: Row, asked: str, answered: str) -> Record:
    """A prompt and its answer; either may be messages."""
    return Record((*_given(_turns(row, asked, "user")), *_turns(row, answered, "assistant")))


def _preference(row: Row, chosen: str, rejected: str) -> Record:
    """Two conversations: learnt is what the chosen one goes on with after they part."""
    preferred, other = (_messages(row[name], name) for name in (chosen, rejected))
    alike = [ours == theirs for ours, theirs in zip(preferred, other, strict=False)]
    parted = alike.index(False) if False in alike else min(len(alike), len(preferred) - 1)
    return Record((*_given(preferred[:parted]), *preferred[parted:]))


def _given(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Turns that are context only."""
    return tuple(replace(turn, weight=0) if turn.role == "assistant" else turn for turn in turns)


_LAYOUTS: tuple[tuple[tuple[str, ...], Callable[..., Record]], ...] = (
    (("messages",), _conversation),
    (("conversations",), _conversation),
    (("instruction", "output"), _instruction),
    (("prompt", "response"), _exchange),
    (("prompt", "completion"), _exchange),
    (("question", "answer"), _exchange),
    (("prompt", "chosen"), _exchange),
    (("chosen", "rejected"), _preference),
    # Last: the Alpaca set on the hub carries a rendered `text` beside its fields.
    (("text",), lambda row, name: Record(text=text_value(row[name], name))),
)
_TOLD = (
    "{messages}, {conversations}, {instruction, input, output}, {prompt, response}, "
    "{prompt, completion}, {question, answer}, {prompt, chosen}, {chosen, rejected} or {text}"
)


def _turns(row: Row, name: str, role: str) -> tuple[Message, ...]:
    """A text, which is a turn of that role, or messages."""
    value = row[name]
    if isinstance(value, list | tuple):
        return _messages(value, name)
    return (Message(role, text_value(value, name)),)


def _messages(turns: object, name: str) -> tuple[Message, ...]:
    if not isinstance(turns, list | tuple):
        raise InputError(
            f"{name} ({kind_of(turns)}) must be a list of {{role, content}}; rewrite it as one"
        )
    return tuple(_message(turn, f"{name}[{place}]") for place, turn in enumerate(turns))


def _message(turn: object, name: str) -> Message:
    keys = turn.keys() if isinstance(turn, Mapping) else set()
    said = next((pair for pair in _SAID if keys >= set(pair)), None)
    if said is None or not isinstance(turn, Mapping):
        raise InputError(
            f"{name} ({kind_of(turn)}) must be an object with role and content; add what is missing"
        )
    who, what = said
    role = text_value(turn[who], f"{name}.{who}")
    weight = 1 if turn.get("weight") is None else turn["weight"]
    if not isinstance(weight, int | float) or weight not in (0, 1):
        raise InputError(
            f"{name}.weight ({weight}) must be 0 or 1; leave it out for a turn that is to be learnt"
        )
    return Message(_ROLES.get(role, role), _content(turn[what], f"{name}.{what}"), int(weight))


def _content(value: object, name: str) -> str:
    """What was said: text, or a list of parts that are text."""
    if not isinstance(value, list | tuple):
        return text_value(value, name)
    for place, part in enumerate(value):
        if not isinstance(part, Mapping) or part.get("type") != "text" or "text" not in part:
            kind = part.get("type") if isinstance(part, Mapping) else kind_of(part)
            raise InputError(
                f"{name}[{place}] ({kind}) must be a part of type text; leave other parts out"
            )
    return "".join(text_value(part["text"], f"{name}.text") for part in value)

"""A record as text: by a chat template, by that of Alpaca, or plainly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from tokenseek_common._errors import InputError
from tokenseek_common.data._chat import render_chat
from tokenseek_common.data._records import Message, Record
from tokenseek_common.data._renderings import Rendering, Span
from tokenseek_common.data._tokenizers import Markers, Tokenizer

Template: TypeAlias = Literal["auto", "chat", "alpaca", "plain"]
"""How a conversation is written out; see `render_record`."""

# The wording of the Stanford Alpaca data set, to the letter: models tuned on it know it.
_ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
_ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request."
)


def render_record(
    record: Record, tokenizer: Tokenizer, *, template: Template = "auto"
) -> Rendering:
    """Write a record out as text.

    Args:
        record: Plain text is taken as it is, whatever the template, and all of it is learnt; a
            special token that it spells becomes that token. Of a conversation every assistant turn
            is learnt and nothing else, but those of weight 0 or of white space alone.
        tokenizer: Brings the chat template.
        template: ``"chat"`` is the tokenizer's own, ``"alpaca"`` the instruction template of that
            data set, ``"plain"`` the bare contents, one below the other. ``"auto"`` is the chat
            template where the tokenizer has one and the Alpaca template elsewhere. A system turn
            that a chat template refuses or leaves out is put in front of the user's turn.

    Returns:
        The text and its spans.

    Raises:
        InputError: If the template is unknown, absent, refuses the order of the turns or leaves
            out what is to be learnt, or a turn spells a special token within a chat template.

    Example:
        >>> record = Record((Message("user", "2 + 2?"), Message("assistant", "4")))
        >>> render_record(record, tokenizer, template="plain").spans
        (Span(start=7, end=8, closed=False, learnt=True),)
    """
    return rendered(record, tokenizer, template, Markers.of(tokenizer))


def rendered(
    record: Record, tokenizer: Tokenizer, template: Template, markers: Markers
) -> Rendering:
    """`render_record` for many records of one tokenizer."""
    if template not in get_args(Template):
        raise InputError(
            f"template ({template}) must be one of {', '.join(get_args(Template))}; "
            "choose one of them"
        )
    if record.text is not None:
        span = Span(0, len(record.text), learnt=record.learnt)
        return Rendering(record.text, (span,), ready=False)
    has_chat_template = bool(getattr(tokenizer, "chat_template", None))
    if template == "chat" and not has_chat_template:
        raise InputError(
            "template (chat) must be one that the tokenizer has, and it has none; choose alpaca"
        )
    if has_chat_template and template in ("auto", "chat"):
        return render_chat(_with_context(record), tokenizer, markers)
    return _plain(record) if template == "plain" else _alpaca(record)


def _with_context(record: Record) -> tuple[Message, ...]:
    """The turns, with the context below the instruction that it belongs to."""
    turns = list(record.messages)
    asked = _instruction(turns)
    if record.context and asked is not None:
        turns[asked] = Message("user", f"{turns[asked].content}\n\n{record.context}")
    return tuple(turns)


def _instruction(turns: Sequence[Message]) -> int | None:
    """Where the first user turn stands, which is the one that a context belongs to."""
    return next((place for place, turn in enumerate(turns) if turn.role == "user"), None)


def _alpaca(record: Record) -> Rendering:
    turns = record.messages
    if turns[0].role == "system":
        preamble, turns = turns[0].content, turns[1:]
    else:
        preamble = _ALPACA_WITH_INPUT if record.context else _ALPACA
    headings = {"system": "", "user": "### Instruction:\n", "assistant": "### Response:\n"}

    text, spans = preamble, []
    for position, turn in enumerate(turns):
        text += f"\n\n{headings[turn.role]}"
        start = len(text)
        text += turn.content
        if turn.role == "assistant":
            spans.append(Span(start, len(text), learnt=turn.learnt))
        elif record.context and position == _instruction(turns):
            text += f"\n\n### Input:\n{record.context}"
    return Rendering(text, tuple(spans), ready=False, literal=True)


def _plain(record: Record) -> Rendering:
    text, spans = "", []
    for turn in _with_context(record):
        text += "\n" if text else ""
        start = len(text)
        text += turn.content
        if turn.role == "assistant":
            spans.append(Span(start, len(text), learnt=turn.learnt))
    return Rendering(text, tuple(spans), ready=False, literal=True)

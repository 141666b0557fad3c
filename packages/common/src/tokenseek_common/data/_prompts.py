"""A record as the text a model sees, and which stretches of that text it is to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

from tokenseek_common._errors import InputError
from tokenseek_common.data._records import Message, Record

Template: TypeAlias = Literal["auto", "chat", "alpaca", "plain"]

# The wording of the Stanford Alpaca data set, to the letter: models tuned on it know it.
_ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
_ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request."
)


@runtime_checkable  # the test run checks arguments against their annotations
class Tokenizer(Protocol):
    """What is asked of a tokenizer; the fast ones of transformers fit.

    Read besides, where they are there: ``chat_template`` and ``eos_token_id``. They stand outside
    the protocol because transformers makes them at run time, out of sight of type checkers.
    """

    def __call__(
        self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool, verbose: bool
    ) -> Mapping[str, Any]:
        """``input_ids``, and with them ``offset_mapping``: from and to which character, each."""

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> Any:
        """With ``tokenize=False`` the conversation as text."""


@dataclass(frozen=True)
class Rendering:
    """A record as text.

    Args:
        text: What the model sees.
        spans: The stretches to learn, as (first character, character after the last), in order.
        ready: The text carries its special tokens already, as that of a chat template does; else
            the tokenizer adds its own in front and a span is closed by the end-of-sequence token.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    ready: bool


def render_record(
    record: Record, tokenizer: Tokenizer, *, template: Template = "auto"
) -> Rendering:
    """Write a record out as text.

    Args:
        record: Plain text is taken as it is, whatever the template, and all of it is learnt. Of a
            conversation every assistant turn is learnt and nothing else.
        tokenizer: Brings the chat template.
        template: ``"chat"`` is the tokenizer's own, ``"alpaca"`` the instruction template of that
            data set, ``"plain"`` the bare contents, one below the other. ``"auto"`` is the chat
            template where the tokenizer has one and the Alpaca template elsewhere.

    Returns:
        The text and its spans.

    Raises:
        InputError: If the template is unknown, absent, or renders a conversation differently once
            it goes on, so that the turns cannot be told apart.

    Example:
        >>> record = Record((Message("user", "2 + 2?"), Message("assistant", "4")))
        >>> render_record(record, tokenizer, template="plain").spans
        ((7, 8),)
    """
    if template not in get_args(Template):
        raise InputError(
            f"template ({template}) must be one of {', '.join(get_args(Template))}; "
            "choose one of them"
        )
    if record.text is not None:
        return Rendering(record.text, ((0, len(record.text)),), ready=False)
    has_chat_template = bool(getattr(tokenizer, "chat_template", None))
    if template == "chat" and not has_chat_template:
        raise InputError(
            "template (chat) must be one that the tokenizer has, and it has none; choose alpaca"
        )
    if has_chat_template and template in ("auto", "chat"):
        return _chat(record, tokenizer)
    return _plain(record) if template == "plain" else _alpaca(record)


def _chat(record: Record, tokenizer: Tokenizer) -> Rendering:
    turns = [{"role": turn.role, "content": turn.content} for turn in _with_context(record)]

    def rendered(until: int, *, add_generation_prompt: bool) -> str:
        text = tokenizer.apply_chat_template(
            turns[:until], tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return str(text)

    try:
        whole = rendered(len(turns), add_generation_prompt=False)
        spans = []
        for position, turn in enumerate(turns):
            if turn["role"] != "assistant":
                continue
            before = rendered(position, add_generation_prompt=True) if position else ""
            through = rendered(position + 1, add_generation_prompt=False)
            if not (whole.startswith(through) and through.startswith(before)):
                raise InputError(
                    f"messages[{position}] must be rendered alike in every part of its "
                    "conversation, which this chat template does not; make a record of each "
                    "assistant turn, or choose the alpaca template"
                )
            # What follows the end of the turn, often a newline, is never generated.
            spans.append((len(before), len(through.rstrip())))
    except InputError:
        raise
    except Exception as error:  # whatever a template raises, most often about the order of roles
        raise InputError(
            f"messages ({', '.join(turn['role'] for turn in turns)}) must fit the tokenizer's chat "
            f"template ({error}); reorder the turns or choose the alpaca template"
        ) from error
    return Rendering(whole, tuple(spans), ready=True)


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
            spans.append((start, len(text)))
        elif record.context and position == _instruction(turns):
            text += f"\n\n### Input:\n{record.context}"
    return Rendering(text, tuple(spans), ready=False)


def _plain(record: Record) -> Rendering:
    text, spans = "", []
    for turn in _with_context(record):
        text += "\n" if text else ""
        start = len(text)
        text += turn.content
        if turn.role == "assistant":
            spans.append((start, len(text)))
    return Rendering(text, tuple(spans), ready=False)

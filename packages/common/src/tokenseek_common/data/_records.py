"""A record is a conversation or a piece of plain text."""

from __future__ import annotations

from dataclasses import dataclass

from tokenseek_common._errors import InputError

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Args:
        role: ``"system"``, ``"user"`` or ``"assistant"``.
        content: What was said.
        weight: 1 where an assistant turn is to be learnt, 0 where it is context only.
    """

    role: str
    content: str
    weight: int = 1

    @property
    def learnt(self) -> bool:
        """Whether a model is to say this: an answer of white space alone teaches nothing."""
        return self.role == "assistant" and self.weight == 1 and bool(self.content.strip())


@dataclass(frozen=True)
class Record:
    """A conversation with at least one assistant turn, or plain text; never both.

    Args:
        messages: The turns, oldest first; empty for plain text.
        context: What the instruction is about (the ``input`` of an Alpaca record). A chat template
            gets it below the instruction, the Alpaca template under a heading of its own.
        text: Plain text; None for a conversation.

    Raises:
        InputError: If there are both messages and text or neither, if a role or a weight is
            unknown, or if no turn is the assistant's to learn.

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
            if message.weight not in (0, 1):
                raise InputError(
                    f"messages[{position}].weight ({message.weight}) must be 0 or 1; "
                    "leave it out for a turn that is to be learnt"
                )
        turns = [message for message in self.messages if message.role == "assistant"]
        if self.messages and not any(turn.weight for turn in turns):
            raise InputError(
                "messages must hold an assistant turn; add the reply that is to be learnt"
                if not turns
                else "messages must hold an assistant turn of weight 1; weigh the reply that is to "
                "be learnt so"
            )

    @property
    def learnt(self) -> bool:
        """Whether there is anything in it for a model to learn."""
        if self.text is not None:
            return bool(self.text.strip())
        return any(message.learnt for message in self.messages)


@dataclass(frozen=True)
class Preference:
    """Two conversations with the same beginning, of which one is better.

    Args:
        chosen: The better one; learnt is what it goes on with after they part.
        rejected: The other one.
    """

    chosen: Record
    rejected: Record

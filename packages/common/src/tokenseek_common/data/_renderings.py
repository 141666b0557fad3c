"""A record as the text that a model sees, and the stretches of it that are the assistant's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """What an assistant says in a rendered text, or all of a plain text.

    Args:
        start: First character.
        end: Character after the last; the end-of-turn token of a chat template belongs to it.
        closed: Whether a token at its end says that it ends here; else the tokenizer's
            end-of-sequence token is put behind it.
        learnt: Whether it is to be predicted.
    """

    start: int
    end: int
    closed: bool = False
    learnt: bool = True


@dataclass(frozen=True)
class Rendering:
    """A record as text.

    Args:
        text: What the model sees.
        spans: The assistant's stretches, in order.
        ready: The text carries its special tokens already, as that of a chat template does; else
            the tokenizer adds its own in front.
        literal: Special tokens that the text spells are letters like others, not tokens.
    """

    text: str
    spans: tuple[Span, ...]
    ready: bool
    literal: bool = False

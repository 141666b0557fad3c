"""A conversation through a tokenizer's chat template, and where the assistant speaks in it.

Nobody but the template knows where a turn begins and ends. Where it marks what is generated
(``{% generation %}``), that is taken. Elsewhere the conversation is rendered once more for each
turn of the assistant, with a stand-in for what it says: what surrounds the stand-in surrounds the
turn, whatever the template does to earlier turns, or to the last one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tokenseek_common._errors import InputError
from tokenseek_common.data._records import Message
from tokenseek_common.data._renderings import Rendering, Span
from tokenseek_common.data._tokenizers import Markers, Tokenizer

_STAND_IN = "\ue0f0"  # of the private use area, so no text has it; one that does has fewer of it
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_ALONE = "make a record of each assistant turn, or choose the alpaca template"


def render_chat(turns: Sequence[Message], tokenizer: Tokenizer, markers: Markers) -> Rendering:
    """Write a conversation out by the tokenizer's chat template.

    Raises:
        InputError: If the template refuses the order of the turns or leaves out what is to be
            learnt, or a turn spells a special token.
    """
    for position, turn in enumerate(turns):
        markers.refuse_spelled(turn.content, f"messages[{position}].content")
    try:
        conversation = _Conversation.of(turns, tokenizer, markers)
        spans = conversation.marked_spans() or conversation.found_spans()
    except InputError:
        raise
    except Exception as error:  # whatever a template raises, most often about the order of roles
        raise InputError(
            f"messages ({', '.join(turn.role for turn in turns)}) must fit the tokenizer's chat "
            f"template ({error}); reorder the turns or choose the alpaca template"
        ) from error
    return Rendering(conversation.whole, spans, ready=True)


@dataclass(frozen=True)
class _Conversation:
    """A conversation, and all of it as the template writes it."""

    turns: tuple[Message, ...]
    whole: str
    tokenizer: Tokenizer
    markers: Markers
    folded: int = 0
    """How many turns of the record stand inside others, for errors."""

    @classmethod
    def of(cls, turns: Sequence[Message], tokenizer: Tokenizer, markers: Markers) -> _Conversation:
        """Render a conversation, its system turn inside the user's if the template knows none."""
        given, folded = tuple(turns), _system_folded(turns)
        if folded != given:
            with suppress(Exception):  # a template that knows no system turn may refuse it ...
                whole = _rendered(given, tokenizer)
                if given[0].content.strip() in whole:  # ... or leave it out
                    return cls(given, whole, tokenizer, markers)
        return cls(
            folded, _rendered(folded, tokenizer), tokenizer, markers, len(given) - len(folded)
        )

    def marked_spans(self) -> tuple[Span, ...]:
        """What the template itself marks as generated; nothing if it marks no turn, or not all."""
        template = getattr(self.tokenizer, "chat_template", None)
        if not _GENERATION.search(str(template)):
            return ()
        encoded = self.tokenizer.apply_chat_template(
            _as_given(self.turns),
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            tokenizer_kwargs={"return_offsets_mapping": True, "verbose": False},
        )
        stretches: list[tuple[int, int]] = []
        inside = False
        for generated, (start, end) in zip(
            encoded["assistant_masks"], encoded["offset_mapping"], strict=True
        ):
            if generated and inside:
                stretches[-1] = (stretches[-1][0], end)
            elif generated:
                stretches.append((start, end))
            inside = bool(generated)
        said = [place for place, turn in enumerate(self.turns) if turn.role == "assistant"]
        if len(said) != len(stretches):
            return ()
        pairs = zip(said, stretches, strict=True)
        return tuple(self._closed(position, start, end) for position, (start, end) in pairs)

    def found_spans(self) -> tuple[Span, ...]:
        """What a stand-in finds, turn by turn."""
        spans = (
            self._span(position)
            for position, turn in enumerate(self.turns)
            if turn.role == "assistant"
        )
        return tuple(span for span in spans if span is not None)

    def _span(self, position: int) -> Span | None:
        """Where a turn stands; None of one that is neither shown nor learnt."""
        around = self._around(position, len(self.turns))
        if around is None:
            if not self.turns[position].learnt:
                return None
            raise InputError(
                f"messages[{position + self.folded}] must be shown once by the chat template, "
                f"which leaves it out or repeats it; {_ALONE}"
            )
        before, after = around
        start = self._begin(position, before)
        if not self.whole.startswith(before[:start]):
            start = _shared(self.whole, before)
        end = max(start, len(self.whole) - _shared(self.whole[::-1], after[::-1]))
        return self._closed(position, start, end)

    def _begin(self, position: int, before: str) -> int:
        """Where the model takes over: behind the generation prompt, if the turn begins with it.

        The template may write on from there, such as an empty thought: that is the model's to say.
        """
        if position == 0:
            return len(before)  # no conversation, no prompt
        earlier = self.turns[:position]
        try:
            asked = _rendered(earlier, self.tokenizer, add_generation_prompt=True)
            unasked = _rendered(earlier, self.tokenizer)
        except Exception:  # such as that of a template that asks for a user's turn
            return len(before)
        prompt = asked[_shared(asked, unasked) :]
        earliest = _shared(unasked, before) - len(prompt)
        found = before.rfind(prompt, max(0, earliest)) if prompt else -1
        return len(before) if found < 0 else found + len(prompt)

    def _around(self, position: int, until: int) -> tuple[str, str] | None:
        """What the template writes before and after a turn; None if it does not show it once."""
        stand_in = _STAND_IN
        while stand_in in self.whole:
            stand_in += _STAND_IN
        turns = list(self.turns[:until])
        turns[position] = Message("assistant", stand_in)
        before, found, after = _rendered(turns, self.tokenizer).partition(stand_in)
        return (before, after) if found and stand_in not in after else None

    def _closed(self, position: int, start: int, end: int) -> Span:
        """The span up to the token that closes it, in it or behind it; what follows is not said."""
        learnt, special = self.turns[position].learnt, self.markers.special
        *_, last = [None, *([] if special is None else special.finditer(self.whole, start, end))]
        if last is not None and not self.whole[last.end() : end].strip():
            return Span(start, last.end(), closed=True, learnt=learnt)
        behind = self._closer(self.whole, end)
        if behind is not None and self._closes(position):
            return Span(start, behind, closed=True, learnt=learnt)
        return Span(start, end, closed=False, learnt=learnt)

    def _closes(self, position: int) -> bool:
        """Whether a token would close the turn if it were the last one.

        In the middle of a conversation a token that follows may be the next turn's own.
        """
        alone = self._around(position, position + 1)
        return alone is not None and self._closer(alone[1]) is not None

    def _closer(self, text: str, at: int = 0) -> int | None:
        """Where a special token that follows ends, if one does."""
        closing = self.markers.closing
        found = None if closing is None else closing.match(text, at)
        return None if found is None else found.end()


def _rendered(
    turns: Sequence[Message], tokenizer: Tokenizer, *, add_generation_prompt: bool = False
) -> str:
    return str(
        tokenizer.apply_chat_template(
            _as_given(turns), tokenize=False, add_generation_prompt=add_generation_prompt
        )
    )


def _as_given(turns: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def _system_folded(turns: Sequence[Message]) -> tuple[Message, ...]:
    """The turns with a system turn in front put into the user's that follows, if there are both."""
    if [turn.role for turn in turns[:2]] != ["system", "user"]:
        return tuple(turns)
    system, user = turns[:2]
    return (Message("user", f"{system.content}\n\n{user.content}"), *turns[2:])


def _shared(first: str, second: str) -> int:
    """How many characters two texts have in common from their beginning."""
    pairs = enumerate(zip(first, second, strict=False))
    shorter = min(len(first), len(second))
    return next((place for place, (ours, theirs) in pairs if ours != theirs), shorter)

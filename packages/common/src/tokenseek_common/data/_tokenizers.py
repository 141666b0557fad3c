"""What is asked of a tokenizer, and which texts are tokens by themselves to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tokenseek_common._errors import InputError


@runtime_checkable  # the test run checks arguments against their annotations
class Tokenizer(Protocol):
    """What is asked of a tokenizer; the fast ones of transformers fit.

    Read besides, where they are there: ``chat_template``, ``eos_token_id`` and
    ``added_tokens_decoder``. They stand outside the protocol because transformers makes them at run
    time, out of sight of type checkers.
    """

    def __call__(
        self,
        text: str,
        *,
        add_special_tokens: bool,
        split_special_tokens: bool,
        return_offsets_mapping: bool,
        verbose: bool,
    ) -> Mapping[str, Any]:
        """``input_ids``, and with them ``offset_mapping``: from and to which character, each."""

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, **options: Any
    ) -> Any:
        """With ``tokenize=False`` the conversation as text."""


@dataclass(frozen=True)
class Markers:
    """The special tokens of a tokenizer, which it takes for one token each wherever they stand.

    Args:
        special: Finds one; None where there is none.
        closing: Finds one behind white space, where it may close a turn; None where there is none.
    """

    special: re.Pattern[str] | None
    closing: re.Pattern[str] | None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Markers:
        """Ask a tokenizer once for many texts: the answer of a large one takes milliseconds."""
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        texts = sorted((token.content for token in added if token.special), key=len, reverse=True)
        if not texts:
            return cls(None, None)
        any_of = "|".join(map(re.escape, texts))  # the longest first, as it is found first
        return cls(re.compile(any_of), re.compile(rf"\s*(?:{any_of})"))

    def refuse_spelled(self, content: str, name: str) -> None:
        """Refuse a text that spells a special token, which it would become in a chat template.

        Raises:
            InputError: It does.
        """
        spelled = None if self.special is None else self.special.search(content)
        if spelled is not None:
            raise InputError(
                f"{name} ({spelled.group()}) must not spell a special token of the tokenizer, "
                "which a chat template cannot tell from its own; write it otherwise, or choose the "
                "alpaca template"
            )

"""What kind of token each one is: by its letters, else by where it stands."""

from __future__ import annotations

import unicodedata
from typing import Literal, get_args

from transformers import PreTrainedTokenizerBase

TokenClass = Literal["prompt", "answer", "punctuation", "number", "special"]
TOKEN_CLASSES: tuple[TokenClass, ...] = get_args(TokenClass)


class TokenClasses:
    """The classes of one tokenizer's tokens, each looked at once.

    Args:
        tokenizer: It says what a token spells, and which are special; without one, tokens are
            told apart by prompt and answer alone.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self._tokenizer = tokenizer
        self._special = set() if tokenizer is None else set(tokenizer.all_special_ids)
        self._known: dict[int, TokenClass | None] = {}

    def of(self, token_id: int | None, *, answer: bool) -> TokenClass:
        """The class of a token.

        Args:
            token_id: The token; None where the model was given embeddings.
            answer: Whether it has a label, which words of an answer have.
        """
        by_letters = None if token_id is None else self._by_letters(token_id)
        return by_letters or ("answer" if answer else "prompt")

    def _by_letters(self, token_id: int) -> TokenClass | None:
        if token_id not in self._known:
            self._known[token_id] = self._look(token_id)
        return self._known[token_id]

    def _look(self, token_id: int) -> TokenClass | None:
        if token_id in self._special:
            return "special"
        if self._tokenizer is None:
            return None
        return class_by_letters(str(self._tokenizer.decode([token_id])))


def class_by_letters(text: str) -> TokenClass | None:
    """Number or punctuation, where a text is nothing else; None for words and white space.

    Example:
        >>> [class_by_letters(text) for text in (" 3.5", "),", " two", " ")]
        ['number', 'punctuation', None, None]
    """
    kinds = {unicodedata.category(letter)[0] for letter in text.strip()}
    if not kinds or not kinds <= set("NPS") or "\N{REPLACEMENT CHARACTER}" in text:
        return None
    return "number" if "N" in kinds else "punctuation"

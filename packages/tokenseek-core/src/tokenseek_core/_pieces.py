"""A text cut where its tokens begin."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


def text_pieces(token_ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What each token adds to the text; alone, a part of a letter or a leading space is lost.

    A token whose letter is completed by the next one adds nothing.
    """
    pieces, told = [], 0
    for end in range(1, len(token_ids) + 1):
        text = str(tokenizer.decode(token_ids[:end], clean_up_tokenization_spaces=False))
        if end < len(token_ids) and text.endswith(_INCOMPLETE):
            pieces.append("")
            continue
        pieces.append(text[told:])
        told = len(text)
    return pieces

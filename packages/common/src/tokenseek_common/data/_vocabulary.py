"""Whether a model has an embedding for every token that it is to be given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenseek_common._errors import InputError
from tokenseek_common.data._examples import Example


def check_vocabulary(examples: Iterable[Example], tokenizer: Any, *, rows: int) -> None:
    """Refuse tokens that a model's embedding has no row for, before a step would end in them.

    Args:
        examples: What the model is to learn.
        tokenizer: Made them; its padding token is checked as well, and tokens are named by it.
        rows: Rows of the model's embedding, ``model.get_input_embeddings().num_embeddings``.

    Raises:
        InputError: If a token, or the padding token, has no row.

    Example:
        >>> check_vocabulary(examples, tokenizer, rows=model.get_input_embeddings().num_embeddings)
    """
    highest = max((max(example.input_ids, default=0) for example in examples), default=0)
    pad = getattr(tokenizer, "pad_token_id", None)
    for told, token in (("a token of the records", highest), ("its padding token", pad)):
        if token is not None and token >= rows:
            raise InputError(
                f"tokenizer ({told} is {tokenizer.decode([token])}, {token}) must give tokens "
                f"below {rows}, as many as the model's embedding has rows; take the model's own "
                "tokenizer, or call model.resize_token_embeddings(len(tokenizer)) and save both"
            )

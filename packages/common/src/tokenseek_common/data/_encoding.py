"""Records to examples: token ids, with everything masked that the model is not to learn."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tokenseek_common._errors import InputError
from tokenseek_common.data._examples import IGNORE_INDEX, Example
from tokenseek_common.data._prompts import Rendering, Template, Tokenizer, render_record
from tokenseek_common.data._records import Record

_logger = logging.getLogger("tokenseek_common.data")


def encode_record(record: Record, tokenizer: Tokenizer, *, template: Template = "auto") -> Example:
    """Encode one record whole, however long it is.

    The text is tokenized in one go, as the model will see it, and the mask follows the offsets
    that the tokenizer reports: a token is supervised where it overlaps with what an assistant says
    (or with plain text). An end-of-turn token of a chat template belongs to that; without a chat
    template the end-of-sequence token is put behind every assistant turn.

    Args:
        record: A conversation or plain text.
        tokenizer: A fast tokenizer, of a causal language model.
        template: See `render_record`.

    Returns:
        The token ids and labels.

    Raises:
        InputError: If the record cannot be rendered or the tokenizer reports no offsets.

    Example:
        >>> record = Record((Message("user", "Hi"), Message("assistant", "Hello")))
        >>> encode_record(record, tokenizer)
    """
    return encode_rendering(render_record(record, tokenizer, template=template), tokenizer)


def encode_rendering(rendering: Rendering, tokenizer: Tokenizer) -> Example:
    """Tokenize a rendered text in one go and mask all of it but its spans."""
    tokens = located_tokens(rendering.text, tokenizer, add_special_tokens=not rendering.ready)
    return _masked(tokens, rendering, getattr(tokenizer, "eos_token_id", None))


def located_tokens(
    text: str, tokenizer: Tokenizer, *, add_special_tokens: bool
) -> list[tuple[int, tuple[int, int]]]:
    """The tokens of a text, each with the stretch of characters that it stands for."""
    try:
        encoded = tokenizer(
            text,
            add_special_tokens=add_special_tokens,
            return_offsets_mapping=True,
            verbose=False,  # the cut to max_length comes later: no warning about the length here
        )
    except NotImplementedError as error:
        raise InputError(
            f"tokenizer ({type(tokenizer).__name__}) must report character offsets; "
            "load the fast version of it"
        ) from error
    return list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))


def _masked(
    tokens: list[tuple[int, tuple[int, int]]], rendering: Rendering, eos_token_id: int | None
) -> Example:
    closing = None if rendering.ready else eos_token_id
    if closing is not None:
        # A tokenizer that closes a text by itself would close it twice.
        while tokens and tokens[-1][0] == closing and tokens[-1][1][0] == tokens[-1][1][1]:
            tokens.pop()

    input_ids: list[int] = []
    labels: list[int] = []
    spans = list(rendering.spans)

    def close() -> None:
        spans.pop(0)
        if closing is not None:
            input_ids.append(closing)
            labels.append(closing)

    for token, (start, end) in tokens:
        # Special tokens that stand for no character report (0, 0); they are not past any span.
        while spans and end > start and start >= spans[0][1]:
            close()
        learnt = bool(spans) and start < spans[0][1] and end > spans[0][0]
        input_ids.append(token)
        labels.append(token if learnt else IGNORE_INDEX)
    while spans:
        close()
    return Example(input_ids, labels)


def encode_records(
    records: Sequence[Record],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    template: Template = "auto",
) -> list[Example]:
    """Encode records, cut the long ones at their end and drop those left with nothing to learn.

    How many were cut and how many dropped goes to the logger ``tokenseek_common.data``, as one
    warning, and only where there were any.

    Args:
        records: Conversations, plain texts or both.
        tokenizer: A fast tokenizer, of a causal language model.
        max_length: Most tokens an example may have.
        template: See `render_record`.

    Returns:
        The examples, in the order of their records.

    Raises:
        InputError: If nothing to learn remains in any record, or a record cannot be rendered; the
            text names the record's position.

    Example:
        >>> examples = encode_records(records, tokenizer, max_length=512)
    """
    if max_length < 2:
        raise InputError(
            f"max_length ({max_length}) must be at least 2, one token and the next; "
            "choose a larger one"
        )
    if not records:
        raise InputError("records (0) must be at least one; give more records")
    examples: list[Example] = []
    cut = dropped = 0
    for position, record in enumerate(records):
        try:
            whole = encode_record(record, tokenizer, template=template)
        except InputError as error:
            raise InputError(f"record {position + 1}: {error}") from error
        kept = Example(whole.input_ids[:max_length], whole.labels[:max_length])
        if not kept.supervised:
            dropped += 1
            continue
        cut += len(whole.input_ids) > max_length
        examples.append(kept)
    if not examples:
        raise InputError(
            f"max_length ({max_length}) must leave something to learn in at least one of "
            f"{len(records)} records; raise it or give records with shorter prompts"
        )
    if cut or dropped:
        _logger.warning(
            "of %d records, %d were cut at max_length (%d) and %d dropped, having nothing to learn",
            len(records),
            cut,
            max_length,
            dropped,
        )
    return examples

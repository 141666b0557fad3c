"""Records to examples: token ids, with everything masked that the model is not to learn."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tokenseek_common._errors import InputError
from tokenseek_common.data._examples import IGNORE_INDEX, Example
from tokenseek_common.data._prompts import Template, render_record, rendered
from tokenseek_common.data._records import Record
from tokenseek_common.data._renderings import Rendering, Span
from tokenseek_common.data._tokenizers import Markers, Tokenizer

_logger = logging.getLogger("tokenseek_common.data")


def encode_record(record: Record, tokenizer: Tokenizer, *, template: Template = "auto") -> Example:
    """Encode one record whole, however long it is.

    The text is tokenized in one go, as the model will see it, and the mask follows the offsets
    that the tokenizer reports: a token is supervised where it overlaps with what an assistant says
    (or with plain text). An end-of-turn token of a chat template belongs to that; where there is
    none, with a chat template or without, the end-of-sequence token is put behind every assistant
    turn. Special tokens that a conversation spells are letters like others.

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
    tokens = located_tokens(
        rendering.text,
        tokenizer,
        add_special_tokens=not rendering.ready,
        split_special_tokens=rendering.literal,
    )
    closing = getattr(tokenizer, "eos_token_id", None)
    if not rendering.ready:
        # A tokenizer that closes a text by itself would close it twice.
        while tokens and tokens[-1][0] == closing and tokens[-1][1][0] == tokens[-1][1][1]:
            tokens.pop()
    return _masked(tokens, rendering.spans, closing)


def located_tokens(
    text: str, tokenizer: Tokenizer, *, add_special_tokens: bool, split_special_tokens: bool
) -> list[tuple[int, tuple[int, int]]]:
    """The tokens of a text, each with the stretch of characters that it stands for."""
    try:
        encoded = tokenizer(
            text,
            add_special_tokens=add_special_tokens,
            split_special_tokens=split_special_tokens,
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
    tokens: list[tuple[int, tuple[int, int]]], spans: Sequence[Span], closing: int | None
) -> Example:
    input_ids: list[int] = []
    labels: list[int] = []
    ahead = list(spans)

    def close() -> None:
        span = ahead.pop(0)
        if closing is not None and not span.closed:
            input_ids.append(closing)
            labels.append(closing if span.learnt else IGNORE_INDEX)

    for token, (start, end) in tokens:
        # Special tokens that stand for no character report (0, 0); they are not past any span.
        while ahead and end > start and start >= ahead[0].end:
            close()
        learnt = bool(ahead) and ahead[0].learnt and start < ahead[0].end and end > ahead[0].start
        input_ids.append(token)
        labels.append(token if learnt else IGNORE_INDEX)
    while ahead:
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

    How many were cut, how many dropped and how many teach no end goes to the logger
    ``tokenseek_common.data`` as a warning, and only where there were any.

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
    if not records:
        raise InputError("records (0) must be at least one; give more records")
    if not any(record.learnt for record in records):
        raise InputError(
            f"records ({len(records)}) must have an answer or a text to learn in at least one, and "
            "all are empty; fill them in"
        )
    encoder = Encoder(tokenizer, max_length, template)
    examples = [example for example in map(encoder, records) if example is not None]
    if not examples:
        raise InputError(
            f"max_length ({max_length}) must leave something to learn in at least one of "
            f"{len(records)} records; raise it or give records with shorter prompts"
        )
    encoder.tell()
    return examples


class Encoder:
    """Encodes records one by one, and keeps count of what becomes of them.

    Args:
        tokenizer: See `encode_records`.
        max_length: See `encode_records`.
        template: See `render_record`.
        first: How many records came before the first that it is to encode.

    Raises:
        InputError: If max_length leaves no room for a token and the next.
    """

    def __init__(
        self, tokenizer: Tokenizer, max_length: int, template: Template, *, first: int = 0
    ) -> None:
        if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 2:
            raise InputError(
                f"max_length ({max_length}) must be at least 2, one token and the next; "
                "choose a larger one"
            )
        self.tokenizer, self.max_length, self.template = tokenizer, max_length, template
        self.markers = Markers.of(tokenizer)
        self.records = first
        self.cut = self.dropped = self.endless = 0

    def __call__(self, record: Record) -> Example | None:
        """Encode a record; None if nothing to learn is left of it.

        Raises:
            InputError: If the record cannot be rendered; the text names its position.
        """
        self.records += 1
        try:
            rendering = rendered(record, self.tokenizer, self.template, self.markers)
            whole = encode_rendering(rendering, self.tokenizer)
        except InputError as error:
            raise InputError(f"record {self.records}: {error}") from error
        kept = Example(whole.input_ids[: self.max_length], whole.labels[: self.max_length])
        if not kept.supervised:
            self.dropped += 1
            return None
        self.cut += len(whole.input_ids) > self.max_length
        if getattr(self.tokenizer, "eos_token_id", None) is None:
            self.endless += any(span.learnt and not span.closed for span in rendering.spans)
        return kept

    def tell(self) -> None:
        """Log what was cut and dropped, and what never ends, if there is any."""
        if self.cut or self.dropped:
            _logger.warning(
                "of %d records, %d were cut at max_length (%d) and %d dropped, having nothing to "
                "learn",
                self.records,
                self.cut,
                self.max_length,
                self.dropped,
            )
        if self.endless:
            _logger.warning(
                "of %d records, %d teach no end: neither the template nor the tokenizer has an "
                "end-of-sequence token",
                self.records,
                self.endless,
            )

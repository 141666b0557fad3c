"""Task samples to token ids for models that choose a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tokenseek_common.data._shortening import shortened_sample
from tokenseek_common.data._task_texts import (
    ClassificationText,
    render_candidates,
    render_classification,
    render_text_to_text,
)
from tokenseek_common.data._tasks import TaskSample
from tokenseek_common.data._tokenizers import Tokenizer


@runtime_checkable  # the test run checks arguments against their annotations
class PairTokenizer(Tokenizer, Protocol):
    """A tokenizer that also takes two texts; those of transformers fit."""

    def __call__(
        self,
        text: str,
        text_pair: str | None = None,
        *,
        add_special_tokens: bool,
        split_special_tokens: bool,
        return_offsets_mapping: bool,
        verbose: bool,
    ) -> Mapping[str, Any]:
        """``input_ids``, and where the model knows two segments ``token_type_ids``."""


@dataclass(frozen=True)
class ClassificationExample:
    """One sample for a classifier.

    Args:
        input_ids: The tokens of one text or of two, with the tokenizer's special tokens.
        token_type_ids: Which of the texts each belongs to; None from a tokenizer without segments.
        label: The index of the class; None where it is unknown, or a number.
    """

    input_ids: list[int]
    token_type_ids: list[int] | None
    label: int | None


def encode_classification(
    sample: TaskSample, tokenizer: PairTokenizer, *, max_length: int, prefixed: bool = False
) -> ClassificationExample:
    """Encode a sample for a classifier.

    Args:
        sample: Of a task with fixed labels.
        tokenizer: A fast tokenizer.
        max_length: Most tokens the example may have.
        prefixed: Read the input of the text-to-text form, prefix of the task and all, in place of
            the pair of texts: for several tasks in one model, and for decoders, many of whose
            tokenizers put nothing between two texts.

    Returns:
        The token ids, their segments and the label.

    Raises:
        InputError: If the choices differ from sample to sample, or the sample is too long with its
            long text left out.

    Example:
        >>> encode_classification(sample, tokenizer, max_length=128).label
        1
    """

    def encoded(sample: TaskSample) -> ClassificationExample:
        text = render_classification(sample)
        if prefixed:
            text = ClassificationText(render_text_to_text(sample).input, None, text.label)
        return _encoded(text, tokenizer)

    def length(sample: TaskSample) -> int:
        return len(encoded(sample).input_ids)

    return encoded(shortened_sample(sample, tokenizer, length, max_length))


def encode_candidates(
    sample: TaskSample, tokenizer: PairTokenizer, *, max_length: int
) -> list[ClassificationExample]:
    """Encode a sample of ReCoRD as one example a candidate, all with the same piece of the passage.

    Args:
        sample: A query with the entities of its passage; see `render_candidates`.
        tokenizer: A fast tokenizer.
        max_length: Most tokens an example may have.

    Returns:
        An example for each choice, in order.

    Raises:
        InputError: If the sample is of a task with fixed labels, or too long without its passage.

    Example:
        >>> [example.label for example in encode_candidates(sample, tokenizer, max_length=256)]
        [0, 1, 0]
    """

    def encoded(sample: TaskSample) -> list[ClassificationExample]:
        return [_encoded(pair, tokenizer) for pair in render_candidates(sample)]

    def length(sample: TaskSample) -> int:
        return max(len(example.input_ids) for example in encoded(sample))

    return encoded(shortened_sample(sample, tokenizer, length, max_length))


def _encoded(text: ClassificationText, tokenizer: PairTokenizer) -> ClassificationExample:
    found = tokenizer(
        text.text,
        text.text_pair,
        add_special_tokens=True,
        split_special_tokens=True,
        return_offsets_mapping=False,
        verbose=False,
    )
    return ClassificationExample(
        list(found["input_ids"]),
        list(found["token_type_ids"]) if "token_type_ids" in found else None,
        text.label,
    )

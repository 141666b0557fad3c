"""Task samples to token ids for models that write: a decoder, or an encoder and a decoder."""

from __future__ import annotations

from dataclasses import dataclass

from tokenseek_common._errors import InputError
from tokenseek_common.data._encoding import encode_rendering, located_tokens
from tokenseek_common.data._examples import IGNORE_INDEX, Example
from tokenseek_common.data._renderings import Rendering, Span
from tokenseek_common.data._shortening import shortened_sample
from tokenseek_common.data._task_texts import render_text_to_text
from tokenseek_common.data._tasks import TaskSample
from tokenseek_common.data._tokenizers import Tokenizer


@dataclass(frozen=True)
class Seq2SeqExample:
    """One sample for an encoder and a decoder.

    Args:
        input_ids: The tokens of the input, with the tokenizer's special tokens.
        labels: Those of the target; empty where it is unknown.
    """

    input_ids: list[int]
    labels: list[int]


def encode_causal(
    sample: TaskSample, tokenizer: Tokenizer, *, max_length: int, target: str | None = None
) -> Example:
    """Encode a sample for a decoder: input, a space, the target, the end-of-sequence token.

    The input is masked. It is shortened until its longest choice fits behind it, so that training,
    ranking the choices by their likelihood and generation all see the same input.

    Args:
        sample: In its text-to-text form.
        tokenizer: A fast tokenizer.
        max_length: Most tokens the example may have.
        target: What to write in place of the right answer, such as each choice in turn.

    Returns:
        The token ids and labels.

    Raises:
        InputError: If the target is unknown, or the sample too long with its long text left out.

    Example:
        >>> ranked = [encode_causal(sample, tokenizer, max_length=256, target=choice)
        ...           for choice in sample.choices]
    """
    written = sample.target if target is None else target
    if written is None:
        raise InputError(
            f"target (none) of a {sample.task.name} sample must be known to be learnt; "
            "give a target, or choose a split with labels"
        )

    def encoded(sample: TaskSample, target: str) -> Example:
        asked = render_text_to_text(sample).input
        text = f"{asked} {target}"
        # The space is learnt: with some choices it is a token of its own, with others part of one.
        return encode_rendering(
            Rendering(text, (Span(len(asked), len(text)),), ready=False, literal=True), tokenizer
        )

    widest = max(sample.choices, key=lambda choice: _width(choice, tokenizer))

    def length(sample: TaskSample) -> int:
        return max(len(encoded(sample, text).input_ids) for text in {widest, written})

    return encoded(shortened_sample(sample, tokenizer, length, max_length), written)


def encode_prompt(sample: TaskSample, tokenizer: Tokenizer, *, max_length: int) -> list[int]:
    """Encode what a decoder is given to answer: the tokens that `encode_causal` masks.

    Args:
        sample: In its text-to-text form; its answers may be unknown.
        tokenizer: A fast tokenizer.
        max_length: Most tokens that the prompt and any of the choices may have together.

    Returns:
        The token ids of the prompt.

    Raises:
        InputError: As `encode_causal`.

    Example:
        >>> encode_prompt(sample, tokenizer, max_length=256)
    """
    example = encode_causal(sample, tokenizer, max_length=max_length, target=sample.choices[0])
    first = next(place for place, label in enumerate(example.labels) if label != IGNORE_INDEX)
    return example.input_ids[:first]


def encode_seq2seq(
    sample: TaskSample, tokenizer: Tokenizer, *, max_length: int, target: str | None = None
) -> Seq2SeqExample:
    """Encode a sample for an encoder and a decoder.

    Args:
        sample: In its text-to-text form.
        tokenizer: A fast tokenizer; the special tokens of both texts are its own.
        max_length: Most tokens the input may have.
        target: What to write in place of the right answer, such as each choice in turn.

    Returns:
        The token ids of the input and of the target.

    Raises:
        InputError: If the sample is too long with its long text left out.

    Example:
        >>> encode_seq2seq(sample, tokenizer, max_length=256)
    """

    def asked(sample: TaskSample) -> list[int]:
        return _ids(render_text_to_text(sample).input, tokenizer)

    shortened = shortened_sample(sample, tokenizer, lambda sample: len(asked(sample)), max_length)
    written = sample.target if target is None else target
    return Seq2SeqExample(asked(shortened), [] if written is None else _ids(written, tokenizer))


def _width(text: str, tokenizer: Tokenizer) -> int:
    return len(located_tokens(text, tokenizer, add_special_tokens=False, split_special_tokens=True))


def _ids(text: str, tokenizer: Tokenizer) -> list[int]:
    return [
        token
        for token, _ in located_tokens(
            text, tokenizer, add_special_tokens=True, split_special_tokens=True
        )
    ]

"""Examples to tensors, padded to the longest of their batch.

Shapes: b batch, s longest sequence of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor

from tokenseek_common._errors import InputError
from tokenseek_common.data._examples import IGNORE_INDEX, Example

PaddingSide: TypeAlias = Literal["left", "right"]
Batch: TypeAlias = dict[str, Int[Tensor, "b s"]]


def pad_batch(
    examples: Sequence[Example | Mapping[str, Sequence[int]]],
    *,
    pad_token_id: int,
    padding_side: PaddingSide = "right",
    pad_to_multiple_of: int | None = None,
) -> dict[str, Int[Tensor, "b s"]]:
    """Stack examples of different lengths into one batch.

    Args:
        examples: At least one; a mapping has ``input_ids`` and ``labels``.
        pad_token_id: The token that fills up ``input_ids``. It may also occur as a true token
            (often it is the end-of-sequence token): the mask goes by length, not by token.
        padding_side: Where the filling goes.
        pad_to_multiple_of: Round the length up, for hardware that likes multiples of 8 or 64.

    Returns:
        ``input_ids``, ``attention_mask`` (1 on true tokens) and ``labels`` (`IGNORE_INDEX` on
        padding), each long [b, s].

    Raises:
        InputError: If there are no examples or an option has no meaning.

    Example:
        >>> pad_batch([Example([1, 2], [1, 2]), Example([3], [3])], pad_token_id=0)["input_ids"]
        tensor([[1, 2],
                [3, 0]])
    """
    step = check_padding(examples, pad_token_id, pad_to_multiple_of)
    if padding_side not in ("left", "right"):
        raise InputError(f"padding_side ({padding_side}) must be left or right; choose one of them")
    rows = [fields_of(example) for example in examples]
    longest = max(len(input_ids) for input_ids, _ in rows)
    shape = (len(rows), -(-longest // step) * step)  # rounded up

    input_ids = torch.full(shape, pad_token_id, dtype=torch.long)  # b s
    attention_mask = torch.zeros(shape, dtype=torch.long)  # b s
    labels = torch.full(shape, IGNORE_INDEX, dtype=torch.long)  # b s
    for row, (tokens, targets) in enumerate(rows):
        start = 0 if padding_side == "right" else shape[1] - len(tokens)
        kept = slice(start, start + len(tokens))
        input_ids[row, kept] = torch.tensor(tokens, dtype=torch.long)
        attention_mask[row, kept] = 1
        labels[row, kept] = torch.tensor(targets, dtype=torch.long)
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def fields_of(
    example: Example | Mapping[str, Sequence[int]],
) -> tuple[Sequence[int], Sequence[int]]:
    """The tokens and the labels of an example, or of a mapping that stands for one."""
    if isinstance(example, Example):
        return example.input_ids, example.labels
    return example["input_ids"], example["labels"]


def check_padding(
    examples: Sequence[object], pad_token_id: int, pad_to_multiple_of: int | None
) -> int:
    """Refuse a batch that cannot be padded.

    Returns:
        What its length must be a multiple of.

    Raises:
        InputError: It is empty, or an option has no meaning.
    """
    if not examples:
        raise InputError("examples (0) must be at least one; give a batch with something in it")
    check_pad_token(pad_token_id)
    step = 1 if pad_to_multiple_of is None else pad_to_multiple_of
    if step < 1:
        raise InputError(
            f"pad_to_multiple_of ({step}) must be at least 1; leave it out for no rounding"
        )
    return step


def check_pad_token(pad_token_id: int) -> None:
    """Refuse a padding token that is none.

    Raises:
        InputError: It is no whole number of at least 0.
    """
    if not isinstance(pad_token_id, int) or pad_token_id < 0:
        raise InputError(
            f"pad_token_id ({pad_token_id}) must be the number of a token; give the tokenizer's "
            "end-of-sequence token if it has no other"
        )


@dataclass(frozen=True)
class PaddingCollator:
    """`pad_batch` with its options fixed, for a ``DataLoader`` or the Hugging Face Trainer.

    Args:
        pad_token_id: The token that fills up ``input_ids``; a tokenizer without one can give its
            end-of-sequence token.
        padding_side: Where the filling goes.
        pad_to_multiple_of: Round the length up to a multiple of this.

    Example:
        >>> collator = PaddingCollator(pad_token_id=0, pad_to_multiple_of=4)
        >>> collator([Example([1, 2], [1, 2])])["attention_mask"]
        tensor([[1, 1, 0, 0]])
    """

    pad_token_id: int
    padding_side: PaddingSide = "right"
    pad_to_multiple_of: int | None = None

    def __post_init__(self) -> None:
        check_pad_token(self.pad_token_id)

    def __call__(
        self, examples: Sequence[Example | Mapping[str, Sequence[int]]]
    ) -> dict[str, Int[Tensor, "b s"]]:
        """Pad one batch."""
        return pad_batch(
            examples,
            pad_token_id=self.pad_token_id,
            padding_side=self.padding_side,
            pad_to_multiple_of=self.pad_to_multiple_of,
        )

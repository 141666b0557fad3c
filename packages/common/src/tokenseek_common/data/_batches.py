"""Examples to tensors: padding, and a loader whose order depends on nothing but its seed.

Shapes: b batch, s longest sequence of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

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
    if not examples:
        raise InputError("examples (0) must be at least one; give a batch with something in it")
    if padding_side not in ("left", "right"):
        raise InputError(f"padding_side ({padding_side}) must be left or right; choose one of them")
    step = 1 if pad_to_multiple_of is None else pad_to_multiple_of
    if step < 1:
        raise InputError(
            f"pad_to_multiple_of ({step}) must be at least 1; leave it out for no rounding"
        )
    rows = [_fields(example) for example in examples]
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


def _fields(
    example: Example | Mapping[str, Sequence[int]],
) -> tuple[Sequence[int], Sequence[int]]:
    if isinstance(example, Example):
        return example.input_ids, example.labels
    return example["input_ids"], example["labels"]


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


def make_loader(
    examples: Sequence[Example],
    *,
    batch_size: int,
    collator: Callable[[Sequence[Example]], Batch],
    shuffle: bool = True,
    seed: int = 0,
) -> DataLoader[Example]:
    """Batches of examples, in an order that only the seed decides.

    Args:
        examples: What to draw from, once each epoch; the last batch may be smaller.
        batch_size: Examples a batch.
        collator: Makes tensors of a list of examples, such as `PaddingCollator`.
        shuffle: Draw in a new random order each epoch; otherwise in the given one.
        seed: Of the loader's own generator: neither does it touch the global one, nor do draws
            elsewhere change its order.

    Returns:
        The loader; iterating over it gives batches as the collator makes them.

    Raises:
        InputError: If there are no examples or batch_size is below 1.

    Example:
        >>> examples = [Example([i], [i]) for i in range(5)]
        >>> loader = make_loader(examples, batch_size=2, collator=PaddingCollator(pad_token_id=0))
        >>> len(loader)
        3
    """
    if not examples:
        raise InputError("examples (0) must be at least one; give more records")
    if batch_size < 1:
        raise InputError(f"batch_size ({batch_size}) must be at least 1; choose a larger one")
    return DataLoader(
        cast("Dataset[Example]", examples),  # a sequence is all that DataLoader needs
        batch_size=batch_size,
        shuffle=shuffle,
        collate_fn=collator,
        generator=torch.Generator().manual_seed(seed),
    )

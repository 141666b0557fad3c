"""Which items train and which are held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

from tokenseek_common._errors import InputError

T = TypeVar("T")


def train_eval_split(
    items: Sequence[T], *, eval_size: int | float = 0.1, seed: int = 0
) -> tuple[list[T], list[T]]:
    """Hold some items out, drawn at random; both parts keep the order of the items.

    Args:
        items: Records or examples.
        eval_size: How many are held out: a number of items (int), or a share of them (float
            between 0 and 1, rounded to at least one item).
        seed: The same seed holds the same items out.

    Returns:
        The items to train on and the items held out.

    Raises:
        InputError: If one of the two parts would be empty.

    Example:
        >>> train, held_out = train_eval_split(range(10), eval_size=2)
        >>> len(train), len(held_out)
        (8, 2)
    """
    if isinstance(eval_size, float) and 0 < eval_size < 1:
        held = max(1, round(eval_size * len(items)))
    elif isinstance(eval_size, int):
        held = eval_size
    else:
        raise InputError(
            f"eval_size ({eval_size}) must be a number of items or a share between 0 and 1; "
            "write 100 or 0.1"
        )
    if not 0 < held < len(items):
        raise InputError(
            f"eval_size ({eval_size}) must leave items for both parts of {len(items)}; "
            "choose another share or give more records"
        )
    generator = torch.Generator().manual_seed(seed)
    held_out = set(torch.randperm(len(items), generator=generator)[:held].tolist())
    train = [item for position, item in enumerate(items) if position not in held_out]
    evaluation = [items[position] for position in sorted(held_out)]
    return train, evaluation

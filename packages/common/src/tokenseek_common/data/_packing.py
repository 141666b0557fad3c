"""Several examples in one row, one behind another, for models that tell them by their positions.

Shapes: b examples, s tokens of all of them.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from tokenseek_common._errors import InputError
from tokenseek_common.data._batches import check_padding, fields_of
from tokenseek_common.data._examples import IGNORE_INDEX, Example


def pack_batch(
    examples: Sequence[Example | Mapping[str, Sequence[int]]],
    *,
    pad_token_id: int = 0,
    pad_to_multiple_of: int | None = None,
) -> dict[str, Int[Tensor, "1 s"]]:
    """Lay examples out in one row, without padding between them.

    Positions begin again with each example, by which transformers keeps their attention apart, and
    FlashAttention and TokenSeek their sequences: in one row, without an attention mask and without
    a cache, for that is when they look. The first token of each example has no label, since what
    precedes it is another example's.

    Args:
        examples: At least one; a mapping has ``input_ids`` and ``labels``.
        pad_token_id: The token that fills up the end.
        pad_to_multiple_of: Round the length up; the filling is a sequence of its own, unlabelled.

    Returns:
        ``input_ids``, ``position_ids`` and ``labels``, each long [1, s].

    Raises:
        InputError: If there are no examples or an option has no meaning.

    Example:
        >>> pack_batch([Example([5, 6], [5, 6]), Example([7], [7])])["position_ids"]
        tensor([[0, 1, 0]])
    """
    step = check_padding(examples, pad_token_id, pad_to_multiple_of)
    input_ids: list[int] = []
    position_ids: list[int] = []
    labels: list[int] = []
    for tokens, targets in map(fields_of, examples):
        input_ids += tokens
        position_ids += range(len(tokens))
        labels += [IGNORE_INDEX, *targets[1:]] if tokens else []
    filling = -len(input_ids) % step
    input_ids += [pad_token_id] * filling
    position_ids += range(filling)
    labels += [IGNORE_INDEX] * filling
    rows = {"input_ids": input_ids, "position_ids": position_ids, "labels": labels}
    return {name: torch.tensor([row], dtype=torch.long) for name, row in rows.items()}


@dataclass(frozen=True)
class PackingCollator:
    """`pack_batch` with its options fixed, for a ``DataLoader`` or the Hugging Face Trainer.

    Args:
        pad_token_id: The token that fills up the end.
        pad_to_multiple_of: Round the length up to a multiple of this.

    Example:
        >>> collator = PackingCollator(pad_to_multiple_of=4)
        >>> collator([Example([5, 6], [5, 6]), Example([7], [7])])["labels"]
        tensor([[-100,    6, -100, -100]])
    """

    pad_token_id: int = 0
    pad_to_multiple_of: int | None = None

    def __call__(
        self, examples: Sequence[Example | Mapping[str, Sequence[int]]]
    ) -> dict[str, Int[Tensor, "1 s"]]:
        """Pack one batch."""
        return pack_batch(
            examples,
            pad_token_id=self.pad_token_id,
            pad_to_multiple_of=self.pad_to_multiple_of,
        )


def pack_lengths(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Put examples together so that few rows hold them, by the rule of the best fit, longest first.

    Args:
        lengths: Tokens of each example.
        max_tokens: Most tokens of a row.

    Returns:
        The places of the examples of each row.

    Raises:
        InputError: If an example is longer than a row, or there are none.

    Example:
        >>> pack_lengths([3, 5, 2, 5], max_tokens=8)
        [[1, 0], [3, 2]]
    """
    check_budget(lengths, max_tokens)
    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # what each row has room for, and which row, in order
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        length = lengths[place]
        tightest = bisect_left(rooms, (length, 0))
        if tightest == len(rooms):
            room, row = max_tokens, len(rows)
            rows.append([])
        else:
            room, row = rooms.pop(tightest)
        rows[row].append(place)
        insort(rooms, (room - length, row))
    return rows


def check_budget(lengths: Sequence[int], max_tokens: int) -> None:
    """Refuse a budget that the longest example does not fit into.

    Raises:
        InputError: It does not, or there are no examples.
    """
    if not lengths:
        raise InputError("examples (0) must be at least one; give more records")
    if max_tokens < max(lengths):
        raise InputError(
            f"max_tokens ({max_tokens}) must be at least {max(lengths)}, the tokens of the longest "
            "example; raise it, or cut the examples"
        )

"""Several examples in each row, one behind another, kept apart by their positions.

Shapes: b rows, s tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from tokenseek_common import InputError
from tokenseek_common.data import IGNORE_INDEX, Example, pack_batch, pack_lengths
from tokenseek_core._check import deviation, evaluating, tolerance
from tokenseek_core._instances import Instance, instance_of

TRIED = 8
"""Tokens of each of the two examples by which a model is tried."""


@dataclass(frozen=True)
class PackedExample(Example):
    """A row of several examples.

    Args:
        position_ids: Where each token stands in its own example.
    """

    position_ids: list[int]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> PackedExample:
        """Lay examples out in a row."""
        return cls(**{name: row[0].tolist() for name, row in pack_batch(examples).items()})


def packed(examples: Sequence[Example], max_length: int) -> list[PackedExample]:
    """Put examples together so that few rows of so many tokens hold them."""
    rows = pack_lengths([len(example.input_ids) for example in examples], max_length)
    return [PackedExample.of([examples[place] for place in row]) for row in rows]


def instances_in(row: Example) -> list[Instance]:
    """The instances that a step sees in a row: itself, or the examples in it."""
    if not isinstance(row, PackedExample):
        return [instance_of(row)]
    starts = [place for place, position in enumerate(row.position_ids) if position == 0]
    ends = [*starts[1:], len(row.input_ids)]
    return [
        instance_of(Example(row.input_ids[start:end], row.labels[start:end]))
        for start, end in zip(starts, ends, strict=True)
    ]


def stacked(rows: Sequence[PackedExample], *, pad_token_id: int) -> dict[str, Int[Tensor, "b s"]]:
    """Make a batch; what fills up a row is a sequence of its own, without labels.

    There is no attention mask: with one, models do not look where positions begin again.
    """
    longest = max(len(row.input_ids) for row in rows)
    fillings = [longest - len(row.input_ids) for row in rows]
    both = list(zip(rows, fillings, strict=True))
    return {
        "input_ids": torch.tensor([row.input_ids + [pad_token_id] * n for row, n in both]),
        "position_ids": torch.tensor([row.position_ids + list(range(n)) for row, n in both]),
        "labels": torch.tensor([row.labels + [IGNORE_INDEX] * n for row, n in both]),
    }


@torch.no_grad()
def check_apart(model: Any, examples: Sequence[Example]) -> None:
    """Refuse a model to which the examples of a row are not apart.

    Raises:
        InputError: The logits of an example are others behind another one.
    """
    tokens = [example.input_ids[:TRIED] for example in (examples[0], examples[-1])]
    row = PackedExample.of([Example(given, given) for given in tokens])
    name, length = type(model).__name__, len(tokens[1])

    def logits(**given: list[int]) -> Tensor:
        batch = {key: torch.tensor([ids], device=model.device) for key, ids in given.items()}
        found: Tensor = model(**batch, use_cache=False).logits
        return found[:, -length:]

    with evaluating(model):
        try:
            behind = logits(input_ids=row.input_ids, position_ids=row.position_ids)
        except TypeError as error:
            raise InputError(
                f"packing (True) must find position_ids in the model, and {name} takes none; "
                "leave it out"
            ) from error
        alone = logits(input_ids=tokens[1])
    apart = deviation(behind, alone)
    if not apart <= tolerance(alone):
        raise InputError(
            f"packing (True) must leave the examples of a row apart, but {name} has logits that "
            f"differ by {apart:.2g} of the largest behind another example; leave it out"
        )

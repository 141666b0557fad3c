"""Which items train and which are held out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import torch

from tokenseek_common._errors import InputError
from tokenseek_common.data._apportionment import apportion
from tokenseek_common.data._tasks import TaskSample

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
    held = _held_out(eval_size, len(items))
    generator = torch.Generator().manual_seed(seed)
    held_out = set(torch.randperm(len(items), generator=generator)[:held].tolist())
    train = [item for position, item in enumerate(items) if position not in held_out]
    evaluation = [items[position] for position in sorted(held_out)]
    return train, evaluation


def stratified_split(
    samples: Sequence[TaskSample], *, eval_size: int | float = 0.1, seed: int = 0
) -> tuple[list[TaskSample], list[TaskSample]]:
    """Hold some samples out, of each task and each label its share; both parts keep the order.

    Samples of one group, such as the answers to the questions about one paragraph of MultiRC, stay
    together: there a group is what is drawn and counted, whatever its labels.

    Args:
        samples: Of one task or of several.
        eval_size: How many are held out, exactly: a number (int), or a share (float between 0 and
            1, rounded to at least one). The parts that labels have in it add up by the method of
            largest remainders.
        seed: The same seed holds the same samples out.

    Returns:
        The samples to train on and those held out.

    Raises:
        InputError: If one of the two parts would be empty.

    Example:
        >>> train, held_out = stratified_split(samples, eval_size=0.1)
        >>> {sample.group for sample in train} & {sample.group for sample in held_out}
        set()
    """
    units: dict[Hashable, list[int]] = {}  # what is drawn as one: the positions of its samples
    strata: dict[Hashable, list[Hashable]] = {}
    for position, sample in enumerate(samples):
        task = sample.task.name
        unit = (task, sample.group) if sample.group else position
        if unit not in units:
            strata.setdefault((task, None if sample.group else sample.label), []).append(unit)
        units.setdefault(unit, []).append(position)

    held = _held_out(eval_size, len(units))
    generator = torch.Generator().manual_seed(seed)
    held_out: set[int] = set()
    shares = apportion([len(members) for members in strata.values()], held)
    for members, share in zip(strata.values(), shares, strict=True):
        for place in torch.randperm(len(members), generator=generator)[:share].tolist():
            held_out.update(units[members[place]])
    train = [sample for position, sample in enumerate(samples) if position not in held_out]
    return train, [samples[position] for position in sorted(held_out)]


def _held_out(eval_size: int | float, count: int) -> int:
    if isinstance(eval_size, float) and 0 < eval_size < 1:
        held = max(1, round(eval_size * count))
    elif isinstance(eval_size, int):
        held = eval_size
    else:
        raise InputError(
            f"eval_size ({eval_size}) must be a number of items or a share between 0 and 1; "
            "write 100 or 0.1"
        )
    if not 0 < held < count:
        raise InputError(
            f"eval_size ({eval_size}) must leave items for both parts of {count}; "
            "choose another share or give more records"
        )
    return held

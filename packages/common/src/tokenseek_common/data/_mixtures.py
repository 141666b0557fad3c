"""Samples of several tasks in one stream, large tasks held back and small ones repeated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from tokenseek_common._errors import InputError
from tokenseek_common.data._apportionment import apportion
from tokenseek_common.data._tasks import TaskSample


def mixture_rates(
    sizes: Mapping[str, int], *, cap: int | None = None, temperature: float = 1.0
) -> dict[str, float]:
    r"""How often each task is drawn, $r_m = c_m^{1/T} / \sum_n c_n^{1/T}$, $c_m = \min(e_m, K)$.

    Args:
        sizes: The number of samples $e_m$ of each task.
        cap: The limit $K$ beyond which a task counts for no more; None for none.
        temperature: $T$: 1 draws in proportion, a large one draws all tasks alike.

    Returns:
        The rate of each task; they add up to 1.

    Raises:
        InputError: If there is no task, a task is empty, or an option has no meaning.

    Example:
        >>> mixture_rates({"boolq": 9000, "cb": 250}, cap=750)
        {'boolq': 0.75, 'cb': 0.25}

    Source: Raffel et al., 2020, https://arxiv.org/abs/1910.10683, section 3.5.2.
    """
    if cap is not None and cap < 1:
        raise InputError(f"cap ({cap}) must be at least 1; leave it out for no limit")
    if not 1 <= temperature < math.inf:
        raise InputError(
            f"temperature ({temperature}) must be at least 1 and finite; 1 draws in proportion"
        )
    if not sizes or min(sizes.values()) < 1:
        told = ", ".join(f"{name} {size}" for name, size in sizes.items()) or "no task"
        raise InputError(
            f"sizes ({told}) must be at least 1 each, of at least one task; leave empty tasks out"
        )
    counted = {name: _capped(size, cap) ** (1 / temperature) for name, size in sizes.items()}
    return {name: weight / sum(counted.values()) for name, weight in counted.items()}


def mix_samples(
    samples: Sequence[TaskSample],
    *,
    cap: int | None = None,
    temperature: float = 1.0,
    size: int | None = None,
    seed: int = 0,
) -> list[TaskSample]:
    """Draw a mixture of tasks, in an order that only the seed decides.

    Each task has its rate's part of the mixture, to the sample (largest remainders). It is drawn
    without replacement, and anew once it is used up, so that none of its samples comes up twice as
    often as another before all have come up.

    Args:
        samples: Of all tasks; each knows its own.
        cap: See `mixture_rates`.
        temperature: See `mixture_rates`.
        size: How many samples to draw; without it as many as all tasks have up to the cap.
        seed: The same seed draws the same mixture.

    Returns:
        The mixture, shuffled.

    Raises:
        InputError: If there are no samples, or an option has no meaning.

    Example:
        >>> mixture = mix_samples([*boolq, *cb], temperature=2.0)
        >>> Counter(sample.task.name for sample in mixture)
    """
    tasks: dict[str, list[TaskSample]] = {}
    for sample in samples:
        tasks.setdefault(sample.task.name, []).append(sample)
    sizes = {name: len(members) for name, members in tasks.items()}
    rates = mixture_rates(sizes, cap=cap, temperature=temperature)
    if size is None:
        size = sum(_capped(count, cap) for count in sizes.values())
    if size < 1:
        raise InputError(f"size ({size}) must be at least 1; leave it out to draw all")

    generator = torch.Generator().manual_seed(seed)
    mixture: list[TaskSample] = []
    counts = apportion(list(rates.values()), size)
    for members, count in zip(tasks.values(), counts, strict=True):
        order: list[int] = []
        while len(order) < count:
            order += torch.randperm(len(members), generator=generator).tolist()
        mixture += [members[place] for place in order[:count]]
    return [mixture[place] for place in torch.randperm(size, generator=generator).tolist()]


def _capped(size: int, cap: int | None) -> int:
    return size if cap is None else min(size, cap)

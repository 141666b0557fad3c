"""Which examples make a batch, in an order that a seed and an epoch decide alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from torch.utils.data import Sampler

from tokenseek_common._errors import InputError
from tokenseek_common.data._packing import check_budget, pack_lengths

_POOL = 1024  # examples that are sorted or packed together: enough to fit, few enough to be random


class BatchOrder(Sampler[list[int]]):
    """Batches of a number of examples, or of a number of tokens: a ``batch_sampler``.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples of a batch; the last one may have fewer.
        max_tokens: Most tokens of a batch, in place of batch_size.
        by_length: Examples of a like length go together, so that there is little padding. A budget
            of tokens does so always.
        packed: The tokens of a budget are those of the examples, as `PackingCollator` lays them
            out; else rows times the longest, as padding makes them.
        shuffle: Draw in a new random order each epoch; otherwise in the given one.
        seed: Decides the orders, with the epoch.

    Raises:
        InputError: If there are no examples, an option has no meaning, or an example does not fit.

    Example:
        >>> list(BatchOrder([4, 9, 5, 8], max_tokens=18, shuffle=False))
        [[0, 2], [3, 1]]
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        by_length: bool = False,
        packed: bool = False,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        if not lengths:
            raise InputError("examples (0) must be at least one; give more records")
        if (batch_size is None) == (max_tokens is None):
            raise InputError(
                f"batch_size ({batch_size}) or max_tokens ({max_tokens}) must be given, and not "
                "both; choose one of them"
            )
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size ({batch_size}) must be at least 1; choose a larger one")
        if packed and max_tokens is None:
            raise InputError(
                "packed (True) must come with max_tokens, which a row of several examples may "
                "have; give it in place of batch_size"
            )
        if max_tokens is not None:
            check_budget(lengths, max_tokens)
        self.lengths, self.shuffle, self.seed = lengths, shuffle, seed
        self.by_length = by_length or max_tokens is not None
        # A pool of whole batches, or each would leave a smaller one behind.
        self.pool = _POOL if batch_size is None else -(-_POOL // batch_size) * batch_size
        self.cut = _cutter(lengths, batch_size, max_tokens, packed)
        self.epoch = self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the order that the next pass takes, and at which batch it begins."""
        self.epoch, self.start = epoch, start

    def batches(self, epoch: int) -> list[list[int]]:
        """All batches of an epoch, as places of examples."""
        chance = random.Random(f"{self.seed} {epoch}")  # a text is hashed alike everywhere
        places = list(range(len(self.lengths)))
        if self.shuffle:
            chance.shuffle(places)
        if not self.by_length:
            return self.cut(places)
        batches: list[list[int]] = []
        for first in range(0, len(places), self.pool):
            pool = places[first : first + self.pool]
            batches += self.cut(sorted(pool, key=self.lengths.__getitem__))
        if self.shuffle:
            chance.shuffle(batches)
        return batches

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches(self.epoch)[self.start :])

    def __len__(self) -> int:
        return len(self.batches(self.epoch))


def _cutter(
    lengths: Sequence[int], batch_size: int | None, max_tokens: int | None, packed: bool
) -> Callable[[list[int]], list[list[int]]]:
    """How the places of some examples are cut into batches."""

    def by_number(places: list[int]) -> list[list[int]]:
        assert batch_size is not None
        firsts = range(0, len(places), batch_size)
        return [places[first : first + batch_size] for first in firsts]

    def by_padded_tokens(places: list[int]) -> list[list[int]]:
        assert max_tokens is not None
        batches: list[list[int]] = []
        for place in places:  # in order of length, so that the last one is the longest
            if not batches or (len(batches[-1]) + 1) * lengths[place] > max_tokens:
                batches.append([])
            batches[-1].append(place)
        return batches

    def by_tokens(places: list[int]) -> list[list[int]]:
        assert max_tokens is not None
        rows = pack_lengths([lengths[place] for place in places], max_tokens)
        return [[places[member] for member in row] for row in rows]

    if batch_size is not None:
        return by_number
    return by_tokens if packed else by_padded_tokens

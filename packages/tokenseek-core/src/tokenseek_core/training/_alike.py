"""Batches of examples that keep about as many tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

from tokenseek_common.data import BatchOrder


class AlikeTogether(Sampler[int]):
    """Places of examples in a random order in which those of a batch keep about as many tokens.

    A step's second pass has as many rows for each instance as that which keeps most.

    Args:
        kept: Tokens that are kept of each example.
        batch_size: Examples of a batch.
        seed: Decides the orders, with the epoch.
    """

    def __init__(self, kept: Sequence[int], *, batch_size: int, seed: int) -> None:
        self.order = BatchOrder(kept, batch_size=batch_size, by_length=True, seed=seed)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order that the next pass takes."""
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        whole_first = sorted(self.order, key=len, reverse=True)  # or all after it would be mixed
        return (place for batch in whole_first for place in batch)

    def __len__(self) -> int:
        return len(self.order.lengths)

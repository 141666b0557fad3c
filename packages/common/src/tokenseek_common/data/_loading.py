"""Loaders whose order a seed alone decides, and which go on where another one stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset

from tokenseek_common._errors import InputError
from tokenseek_common.data._batch_order import BatchOrder
from tokenseek_common.data._batches import Batch
from tokenseek_common.data._examples import IGNORE_INDEX, Example
from tokenseek_common.data._progress import Progress


class ResumableLoader(DataLoader[Example]):
    """Batches of examples, and a state to go on from.

    Each pass is an epoch with an order of its own. What counts for the state is what has been
    handed out, whatever workers have prepared beyond it.

    Not torchdata's ``StatefulDataLoader``: its last release, 0.11, warns under torch 2.15 of what
    is deprecated there, and the epoch that follows a resumed one has another order than in a run
    without a break. Here an order is a function of seed and epoch, so a state is two numbers.

    Args:
        examples: What to draw from.
        order: Which make a batch.
        collator: Makes tensors of a list of examples.
        num_workers: Processes that prepare batches; 0 is this one.

    Example:
        >>> loader.load_state_dict(json.loads(Path("loader.json").read_text()))
        >>> for batch in loader:  # the rest of that epoch
        ...     step(batch)
        ...     Path("loader.json").write_text(json.dumps(loader.state_dict()))
    """

    def __init__(
        self,
        examples: Sequence[Example],
        order: BatchOrder,
        collator: Callable[[Sequence[Example]], Batch],
        *,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            cast("Dataset[Example]", examples),  # a sequence is all that DataLoader needs
            batch_sampler=order,
            collate_fn=collator,
            num_workers=num_workers,
            generator=torch.Generator(),  # of its own: it draws the seeds of workers
        )
        self._order = order
        self._progress = Progress({"examples": len(examples), "seed": order.seed})

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # batches, in whichever process
        epoch, done = self._progress.begin()
        self._order.set_epoch(epoch, done)
        self.generator.manual_seed(self._order.seed)
        yield from self._progress.count(super().__iter__())

    def state_dict(self) -> dict[str, object]:
        """Where the pass stands: behind the batch that was handed out last."""
        return self._progress.state_dict()

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Let the next pass go on from there.

        Raises:
            InputError: The state is of other examples, or of another seed.
        """
        self._progress.load_state_dict(state)


def make_loader(
    examples: Sequence[Example],
    *,
    collator: Callable[[Sequence[Example]], Batch],
    batch_size: int | None = None,
    max_tokens: int | None = None,
    by_length: bool = False,
    packed: bool = False,
    shuffle: bool = True,
    seed: int = 0,
    num_workers: int = 0,
) -> ResumableLoader:
    """Batches of examples, in an order that only the seed decides.

    Args:
        examples: What to draw from, once each epoch; each with something to learn.
        collator: Makes tensors of a list of examples, such as `PaddingCollator`, or with packed
            `PackingCollator`.
        batch_size: Examples a batch; the last one may be smaller. This or max_tokens.
        max_tokens: Most tokens a batch.
        by_length: See `BatchOrder`.
        packed: See `BatchOrder`.
        shuffle: Draw in a new random order each epoch; otherwise in the given one.
        seed: Decides the orders: neither is the global generator touched, nor do draws elsewhere
            change anything.
        num_workers: Processes that prepare batches; 0 is this one.

    Returns:
        The loader; iterating over it gives batches as the collator makes them.

    Raises:
        InputError: If there are no examples, one has nothing to learn, or an option has no meaning.

    Example:
        >>> examples = [Example([i, i], [i, i]) for i in range(5)]
        >>> loader = make_loader(examples, batch_size=2, collator=PaddingCollator(pad_token_id=0))
        >>> len(loader)
        3
    """
    for place, example in enumerate(examples):
        if all(label == IGNORE_INDEX for label in example.labels[1:]):
            raise InputError(
                f"examples[{place}] ({len(example.labels)} tokens) must have a label behind its "
                "first token, or there is nothing to learn; leave it out"
            )
    order = BatchOrder(
        [len(example.input_ids) for example in examples],
        batch_size=batch_size,
        max_tokens=max_tokens,
        by_length=by_length,
        packed=packed,
        shuffle=shuffle,
        seed=seed,
    )
    return ResumableLoader(examples, order, collator, num_workers=num_workers)

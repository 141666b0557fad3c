"""Examples of a source that need not fit into memory, and a state to go on from."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from torch.utils.data import IterableDataset, get_worker_info

from tokenseek_common._errors import InputError
from tokenseek_common.data._encoding import Encoder
from tokenseek_common.data._examples import Example
from tokenseek_common.data._progress import Progress
from tokenseek_common.data._prompts import Template
from tokenseek_common.data._records import Record
from tokenseek_common.data._sources import iter_records
from tokenseek_common.data._tokenizers import Tokenizer


class ExampleStream(IterableDataset[Example]):
    """Examples of a file or of the hub, encoded as they are asked for, for a ``DataLoader``.

    A pass reads the source once. To go on from a state, what came before is read again but not
    encoded, so that the order is the same to the example.

    Args:
        source: See `load_records`.
        tokenizer: A fast tokenizer, of a causal language model.
        max_length: Most tokens an example may have; what has nothing to learn is left out.
        template: See `render_record`.
        split: See `load_records`.
        buffer: Records to draw each from at random; 1 keeps their order. A stream is shuffled as
            far as this reaches.
        seed: Decides the orders, with the epoch.

    Raises:
        InputError: If an option has no meaning.

    Example:
        >>> stream = ExampleStream("corpus.jsonl.gz", tokenizer, max_length=512, buffer=1000)
        >>> loader = DataLoader(stream, batch_size=8, collate_fn=PaddingCollator(pad_token_id=0))
    """

    def __init__(
        self,
        source: str | Path,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        template: Template = "auto",
        split: str | None = None,
        buffer: int = 1,
        seed: int = 0,
    ) -> None:
        if buffer < 1:
            raise InputError(f"buffer ({buffer}) must be at least 1; 1 keeps the order")
        Encoder(tokenizer, max_length, template)  # refuses what has no meaning
        self.source, self.tokenizer, self.max_length = source, tokenizer, max_length
        self.template: Template = template
        self.split, self.buffer, self.seed = split, buffer, seed
        self._progress = Progress({"source": str(source), "seed": seed, "buffer": buffer})

    def __iter__(self) -> Iterator[Example]:
        """Begin a pass.

        Raises:
            InputError: If a worker asks, whose state nobody would know; or as `load_records` does.
        """
        if get_worker_info() is not None:
            raise InputError(
                "num_workers must be 0 for a stream, whose state is that of one process; leave it "
                "out"
            )
        epoch, done = self._progress.begin()
        encoder = Encoder(self.tokenizer, self.max_length, self.template, first=done)
        records = iter_records(self.source, split=self.split)
        drawn = _drawn(records, self.buffer, random.Random(f"{self.seed} {epoch}"))
        for record in self._progress.count(islice(drawn, done, None)):
            example = encoder(record)
            if example is not None:
                yield example
        encoder.tell()

    def state_dict(self) -> dict[str, object]:
        """Where the pass stands: behind the record of the example that was handed out last."""
        return self._progress.state_dict()

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Let the next pass go on from there.

        Raises:
            InputError: The state is of another source, or of another order.
        """
        self._progress.load_state_dict(state)


def _drawn(records: Iterable[Record], buffer: int, chance: random.Random) -> Iterator[Record]:
    """The records, each drawn at random from the next few."""
    waiting: list[Record] = []
    for record in records:
        waiting.append(record)
        if len(waiting) == buffer:
            yield _taken(waiting, chance)
    while waiting:
        yield _taken(waiting, chance)


def _taken(waiting: list[Record], chance: random.Random) -> Record:
    """One of them at random; the last takes its place, which spares moving the others."""
    place = chance.randrange(len(waiting))
    waiting[place], waiting[-1] = waiting[-1], waiting[place]
    return waiting.pop()

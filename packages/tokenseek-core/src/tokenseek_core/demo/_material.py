"""What the demo trains on, tests on, measures and shows, as tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tokenseek_common import InputError
from tokenseek_common.data import (
    Example,
    PaddingCollator,
    Record,
    encode_record,
    make_loader,
    train_eval_split,
)
from tokenseek_core.demo._docstrings import docstrings, functions

BATCH_SIZE = 4
HELD_OUT = 16  # enough to see a loss fall, few enough to be tested on several times
LEAST_TOKENS = 64  # shorter lessons are mostly prompt
MOST_TOKENS = 144  # longer ones take minutes
MEASURED_TOKENS = 512  # a step is measured at a length at which its costs matter
ANSWERED_TOKENS = 1024  # with their prompts, of which the longer half is taken
HELD_OUT_ANSWERS = 4

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Lesson:
    """An instruction with its answer.

    Args:
        asked: The instruction.
        example: Both as tokens, whole.
    """

    asked: str
    example: Example

    @property
    def length(self) -> int:
        """How many tokens it has."""
        return len(self.example.input_ids)


@dataclass(frozen=True)
class Material:
    """The lessons of a demo; none of them is cut.

    Args:
        train: What is trained on.
        held_out: What the loss is tested on, shortest first, from modules not trained on.
        measured: The lesson on which single steps are measured.
        collator: Pads lessons as the tokenizer wants it.
        batch_size: Lessons of a step.
    """

    train: list[Lesson]
    held_out: list[Lesson]
    measured: Lesson
    collator: PaddingCollator
    batch_size: int = BATCH_SIZE

    def training_batches(self, steps: int, *, seed: int) -> list[Batch]:
        """The batch of each step, in an order that only the seed decides."""
        loader = make_loader(
            [lesson.example for lesson in self.train],
            batch_size=self.batch_size,
            collator=self.collator,
            seed=seed,
        )
        epochs = itertools.chain.from_iterable(itertools.repeat(loader))
        return list(itertools.islice(epochs, steps))

    def held_out_batches(self) -> list[Batch]:
        """All held-out lessons; neighbours are of a like length, so that little is padding."""
        examples = [lesson.example for lesson in self.held_out]
        starts = range(0, len(examples), self.batch_size)
        return [self.collator(examples[start : start + self.batch_size]) for start in starts]


def prepare(tokenizer: PreTrainedTokenizerBase, *, positions: int, seed: int) -> Material:
    """Encode the docstrings for a model.

    Args:
        tokenizer: The model's own, with a padding token.
        positions: How many tokens the model takes.
        seed: Draws the lessons that are held out, from those of the held-out modules.

    Returns:
        The material.

    Raises:
        InputError: Too few lessons fit into the model, or there are no docstrings.
    """
    texts = docstrings()
    train, held_out = _lessons(texts.train, tokenizer), _lessons(texts.held_out, tokenizer)
    fitting, candidates = _fitting(train, positions), _fitting(held_out, positions)
    if len(fitting) < BATCH_SIZE or len(candidates) <= HELD_OUT:
        raise InputError(
            f"model ({positions} positions) must take more than {HELD_OUT} of the held-out texts, "
            f"but {len(candidates)} fit; choose another --model"
        )
    _, drawn = train_eval_split(candidates, eval_size=HELD_OUT, seed=seed)
    measurable = (lesson for lesson in train if lesson.length <= min(MEASURED_TOKENS, positions))
    return Material(
        train=fitting,
        held_out=sorted(drawn, key=lambda lesson: lesson.length),
        measured=max(measurable, key=lambda lesson: lesson.length),
        collator=PaddingCollator(tokenizer.pad_token_id),
    )


def prepare_answers(
    tokenizer: PreTrainedTokenizerBase, *, positions: int, seed: int
) -> Material | None:
    """Encode functions with what they do for a model: short answers behind long prompts.

    Args:
        tokenizer: As of :func:`prepare`.
        positions: How many tokens the model takes.
        seed: Draws the lessons that are held out.

    Returns:
        The material, one lesson a step; None where too few lessons fit.
    """
    texts = functions()
    train, held_out = (
        [lesson for lesson in _lessons(part, tokenizer) if lesson.length <= longest]
        for longest in [min(ANSWERED_TOKENS, positions)]
        for part in (texts.train, texts.held_out)
    )
    train, held_out = (
        [lesson for lesson in part if 2 * lesson.length >= longest]
        for longest in [max((lesson.length for lesson in train), default=0)]
        for part in (train, held_out)
    )
    if len(train) < BATCH_SIZE or len(held_out) <= HELD_OUT_ANSWERS:
        return None
    _, drawn = train_eval_split(held_out, eval_size=HELD_OUT_ANSWERS, seed=seed)
    return Material(
        train=train,
        held_out=sorted(drawn, key=lambda lesson: lesson.length),
        measured=max(train, key=lambda lesson: lesson.length),
        collator=PaddingCollator(tokenizer.pad_token_id),
        batch_size=1,
    )


def _lessons(records: Sequence[Record], tokenizer: PreTrainedTokenizerBase) -> list[Lesson]:
    return [
        Lesson(record.messages[0].content, encode_record(record, tokenizer)) for record in records
    ]


def _fitting(lessons: Sequence[Lesson], positions: int) -> list[Lesson]:
    most = min(MOST_TOKENS, positions)
    return [lesson for lesson in lessons if LEAST_TOKENS <= lesson.length <= most]

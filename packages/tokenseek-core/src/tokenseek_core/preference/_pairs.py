"""Two answers behind one prompt in one row, so that the prompt is run once.

Shapes: `b` pairs, `s` tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tokenseek_common import InputError
from tokenseek_common.data import IGNORE_INDEX, Example


@dataclass(frozen=True)
class Pair:
    """A prompt and two answers to it, in tokens.

    Args:
        prompt: At least one token.
        chosen: The better answer, with its labels.
        rejected: The worse one.

    Raises:
        InputError: The prompt has no token, or an answer has nothing to learn.
    """

    prompt: Sequence[int]
    chosen: Example
    rejected: Example

    def __post_init__(self) -> None:
        if not len(self.prompt):
            raise InputError("prompt (0 tokens) must have at least one; begin it with a token")
        for name, answer in (("chosen", self.chosen), ("rejected", self.rejected)):
            if all(label == IGNORE_INDEX for label in answer.labels):
                raise InputError(
                    f"{name} ({len(answer.labels)} tokens) must have a label; leave the pair out"
                )

    @property
    def length(self) -> int:
        """Tokens of its row: the prompt's last one stands before both answers."""
        answers = len(self.chosen.input_ids) + len(self.rejected.input_ids)
        return len(self.prompt) + 1 + answers


def pair_of(chosen: Example, rejected: Example) -> Pair:
    """Part two encoded conversations where they differ, or where either begins to be learnt.

    Args:
        chosen: Prompt and better answer, as `encode_record` makes it.
        rejected: The same prompt and the worse one.

    Raises:
        InputError: They have no beginning in common, or an answer has nothing to learn.
    """
    shared = 0
    for ours, theirs in zip(_tokens(chosen), _tokens(rejected), strict=False):
        if ours != theirs or ours[1] != IGNORE_INDEX:
            break
        shared += 1
    rest = [Example(e.input_ids[shared:], e.labels[shared:]) for e in (chosen, rejected)]
    return Pair(chosen.input_ids[:shared], *rest)


@dataclass(frozen=True)
class PairScores:
    """Log-probabilities of answers, each the sum over its tokens.

    Args:
        chosen: Those of the better answers, [b].
        rejected: Those of the worse ones, [b].
    """

    chosen: Float[Tensor, " b"]
    rejected: Float[Tensor, " b"]


@dataclass(frozen=True)
class PairBatch:
    """Pairs, a row each, and which tokens carry the loss of which answer.

    Args:
        arguments: What the model is called with: tokens, labels, positions, a mask of four axes.
        chosen: Tokens whose next one is of the better answer, [b, s].
        rejected: Those of the worse one, [b, s].
    """

    arguments: dict[str, Tensor]
    chosen: Bool[Tensor, "b s"]
    rejected: Bool[Tensor, "b s"]

    def scores(self, losses: Float[Tensor, "b s"]) -> PairScores:
        """Log-probabilities of the answers.

        Args:
            losses: The cross-entropy of each token, as `TokenSeekHandle.token_losses` gives them.
        """
        return PairScores(-(losses * self.chosen).sum(1), -(losses * self.rejected).sum(1))

    def to(self, device: torch.device | str) -> PairBatch:
        """The same on a device."""
        arguments = {name: value.to(device) for name, value in self.arguments.items()}
        return PairBatch(arguments, self.chosen.to(device), self.rejected.to(device))


def pair_batch(
    pairs: Sequence[Pair], *, pad_token_id: int = 0, additive: torch.dtype | None = None
) -> PairBatch:
    """Lay pairs out: the prompt, the better answer, the worse one, which does not see the better.

    Before each answer stands the prompt's last token, at the same position, since it predicts the
    first token of both. So every answer has the log-probability that it has in a row of its own.

    Args:
        pairs: At least one.
        pad_token_id: What fills up shorter rows.
        additive: Type of a mask that is added to attention logits, which `eager` takes; None makes
            a boolean one, for `sdpa`.

    Raises:
        InputError: There are no pairs.
    """
    if not pairs:
        raise InputError("pairs (0) must be at least one; give a batch with something in it")
    shape = (len(pairs), max(pair.length for pair in pairs))
    input_ids = torch.full(shape, pad_token_id)  # [b, s]
    labels = torch.full(shape, IGNORE_INDEX)  # [b, s]
    position_ids = torch.zeros(shape, dtype=torch.long)  # [b, s]
    part = torch.full(shape, PADDING)  # [b, s]
    for row, pair in enumerate(pairs):
        start = 0
        head, last = pair.prompt[:-1], pair.prompt[-1]
        before = Example(list(head), [IGNORE_INDEX] * len(head))
        answers = [
            Example([last, *answer.input_ids], [IGNORE_INDEX, *answer.labels])
            for answer in (pair.chosen, pair.rejected)
        ]
        for number, segment in enumerate((before, *answers)):
            first = 0 if number == PROMPT else len(head)
            length = len(segment.input_ids)
            here = (row, slice(start, start + length))
            input_ids[here] = torch.tensor(segment.input_ids, dtype=torch.long)
            labels[here] = torch.tensor(segment.labels, dtype=torch.long)
            position_ids[here] = torch.arange(first, first + length)
            part[here] = number
            start += length
    targets = labels.roll(-1, dims=1) != IGNORE_INDEX
    targets[:, -1] = False
    arguments = {
        "input_ids": input_ids,
        "labels": labels,
        "position_ids": position_ids,
        "attention_mask": _mask(part, additive),
    }
    return PairBatch(arguments, targets & (part == CHOSEN), targets & (part == REJECTED))


PROMPT, CHOSEN, REJECTED, PADDING = range(4)


def _mask(part: Int[Tensor, "b s"], additive: torch.dtype | None) -> Tensor:
    """Causal, the worse answer blind to the better one, padding seen by nobody: [b, 1, s, s]."""
    s = part.shape[1]
    rows, keys = part[:, :, None], part[:, None, :]
    seen = torch.ones(s, s, dtype=torch.bool).tril() & (keys != PADDING)
    seen = seen & ~((rows == REJECTED) & (keys == CHOSEN))
    seen |= (rows == PADDING) & (torch.arange(s) == 0)  # a row that sees nothing has no softmax
    if additive is None:
        return seen[:, None]
    hidden = torch.zeros(seen.shape, dtype=additive)
    return hidden.masked_fill(~seen, torch.finfo(additive).min)[:, None]


def _tokens(example: Example) -> list[tuple[int, int]]:
    """Tokens with their labels."""
    return list(zip(example.input_ids, example.labels, strict=True))

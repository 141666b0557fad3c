"""From scores to the kept tokens of each instance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tokenseek_core._batch import Batch
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._counts import Counts
from tokenseek_core._sequences import Sequences

Whole = TypeVar("Whole", int, Tensor)


@dataclass(frozen=True)
class Selection:
    """The kept tokens of a batch.

    Args:
        indices: Slots of the kept rows in ascending order, distinct within an instance, [b, k].
        active: False for surplus rows of instances that keep fewer than the longest, [b, k].
        kept: How many of each row's are not surplus.
        importance: What each kept row stands for: the inverse of its probability to be kept where
            rows were sampled, else 1, [b, k].
        source: The kept tokens of an encoder in front of the decoder that these are of.
    """

    indices: Int[Tensor, "b k"]
    active: Bool[Tensor, "b k"]
    kept: tuple[int, ...]
    importance: Float[Tensor, "b k"]
    source: Selection | None = None

    @classmethod
    def of(
        cls,
        chosen: Bool[Tensor, "b s"],
        importance: Float[Tensor, "b s"],
        kept: Sequence[int],
    ) -> Selection:
        """Of tokens that are chosen, so many in each row; others are surplus, one at least."""
        k = max(1, *kept)
        indices = chosen.int().argsort(dim=1, descending=True, stable=True)[:, :k].sort(dim=1)
        return cls(
            indices=indices.values,
            active=chosen.gather(1, indices.values),
            kept=tuple(kept),
            importance=importance.gather(1, indices.values),
        )

    @property
    def ragged(self) -> bool:
        """Whether any row is surplus."""
        return min(self.kept) < self.indices.shape[1]

    def rows(self, tensor: Tensor) -> Tensor:
        """Gather the kept rows: [b, s] to [b, k], or [b, s, ...] to [b, k, ...]."""
        index = self.indices.reshape(self.indices.shape + (1,) * (tensor.ndim - 2))
        return torch.take_along_dim(tensor, index, dim=1)


def share_of(length: Whole, ratio: float) -> Whole:
    """ceil(ratio * length), in integers, which a host and every device round alike.

    The ratio counts in parts of 1e-12, and one less, so that a tenth of ten is one.
    """
    parts = 10**12
    return -(-length * (round(ratio * parts) - 1) // parts)


def budget_of(size: int, ratio: float, least: int = 1) -> int:
    """How many of so many tokens are kept."""
    return min(size, max(least, share_of(size, ratio)))


@dataclass(frozen=True)
class Stratum:
    """Tokens of a batch of which a share is kept, chosen among themselves.

    Args:
        among: The tokens, [b, s].
        sizes: Their number in each instance.
        ratio: Share of them to keep.
        least: How many an instance keeps at least, where it has them.
    """

    among: Bool[Tensor, "b s"]
    sizes: Sequence[int]
    ratio: float
    least: int = 1

    @property
    def budgets(self) -> list[int]:
        """Tokens to keep of each instance, as the host counts them."""
        return [budget_of(size, self.ratio, self.least) for size in self.sizes]

    @property
    def budget(self) -> Int[Tensor, " b"]:
        """The same numbers on the device, which needs no copy of the host's."""
        size = self.among.sum(1)
        return torch.minimum(size, share_of(size, self.ratio).clamp(min=self.least))


def strata(batch: Batch, config: TokenSeekConfig) -> list[Stratum]:
    """The tokens among which a step keeps its share: all real ones, or two parts of them."""
    counts = batch.counts
    if config.answer_ratio is None:
        return [Stratum(batch.valid, counts.lengths, config.ratio)]
    answers, others = batch.valid & batch.supervised, batch.valid & ~batch.supervised
    sizes = [length - n for length, n in zip(counts.lengths, counts.answers, strict=True)]
    least = max(1, config.min_supervised)
    return [
        Stratum(answers, counts.answers, config.answer_ratio, least),
        Stratum(others, sizes, config.ratio),
    ]


def kept_tokens(length: int, answers: int, config: TokenSeekConfig) -> int:
    """How many tokens a step keeps of an instance.

    Args:
        length: Its tokens.
        answers: Those of them that carry the loss.
        config: The settings.
    """
    if config.answer_ratio is None:
        return budget_of(length, config.ratio)
    least = max(1, config.min_supervised)
    others = budget_of(length - answers, config.ratio)
    return budget_of(answers, config.answer_ratio, least) + others


def kept_share(counts: Counts, config: TokenSeekConfig, source: Sequence[int] = ()) -> float:
    """Share of a batch's tokens that a step keeps.

    Args:
        counts: What is known of its instances.
        config: The settings.
        source: Tokens that an encoder reads of each instance, in front of a decoder.
    """
    instances = zip(counts.lengths, counts.answers, strict=True)
    kept = sum(kept_tokens(length, answers, config) for length, answers in instances)
    kept += sum(budget_of(length, config.ratio) for length in source)
    return kept / (sum(counts.lengths) + sum(source))


def supervised_first(
    scores: Float[Tensor, "b s"], supervised: Bool[Tensor, "b s"], least: int
) -> Float[Tensor, "b s"]:
    """Raise the best `least` supervised tokens above all others of their instance.

    Which tokens are kept does not change where enough of them are kept without that.
    """
    if not least:
        return scores
    best = scores.masked_fill(~supervised, -math.inf).topk(min(least, scores.shape[1])).indices
    raised = scores.gather(1, best).masked_fill(supervised.gather(1, best), math.inf)
    return scores.scatter(1, best, raised)


def select(
    scores: Float[Tensor, "b s"],
    parts: Sequence[Stratum],
    log_p: Float[Tensor, "b s"] | None = None,
) -> Selection:
    """Keep the highest scores of each part of each instance.

    Args:
        scores: Importance of each token; only their order within a part of an instance matters.
        parts: Which tokens are chosen among themselves, and how many of them; no token is in two
            parts, and one in none is kept only as surplus.
        log_p: Where `scores` are a draw, see :func:`perturbed`: the logarithms it was made of.

    Returns:
        The kept slots; at least one for every instance that has a token.
    """
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    importance = torch.ones_like(scores)
    for part in parts:
        own, weights = _highest(scores, part, log_p)
        chosen |= own
        importance = torch.where(own, weights, importance)
    kept = [sum(of_parts) for of_parts in zip(*(part.budgets for part in parts), strict=True)]
    return Selection.of(chosen, importance, kept)


def together(selection: Selection, sequences: Sequences) -> Selection:
    """The kept tokens of a batch's rows, given those of the sequences in them."""
    n, length = sequences.valid.shape
    flags = torch.zeros(n, length, dtype=torch.bool, device=selection.indices.device)
    weights = torch.ones(n, length, device=flags.device, dtype=selection.importance.dtype)
    kept = [0] * sequences.shape[0]
    for row, number in zip(sequences.rows, selection.kept, strict=True):
        kept[row] += number
    return Selection.of(
        sequences.together(flags.scatter(1, selection.indices, selection.active)),
        sequences.together(weights.scatter(1, selection.indices, selection.importance)),
        kept,
    )


def _highest(
    scores: Float[Tensor, "b s"], part: Stratum, log_p: Float[Tensor, "b s"] | None
) -> tuple[Bool[Tensor, "b s"], Float[Tensor, "b s"]]:
    """The highest scores of one part, and what each of them stands for."""
    k = max(1, *part.budgets)
    ordered = scores.masked_fill(~part.among, -math.inf).topk(min(k + 1, scores.shape[1]))
    slots, budget = ordered.indices[:, :k], part.budget  # [b, k], highest first, and [b]
    active = torch.arange(k, device=scores.device) < budget[:, None]
    weights = torch.ones_like(scores)
    if log_p is not None:
        # The first score that is not kept; there is none, so -inf, where everything is.
        beyond = F.pad(ordered.values, (0, k + 1 - ordered.values.shape[1]), value=-math.inf)
        threshold = beyond.gather(1, budget[:, None])
        chance = -torch.expm1(-torch.exp(log_p.gather(1, slots) - threshold))
        weights.scatter_(1, slots, torch.where(active, 1 / chance, 1))
    return torch.zeros_like(part.among).scatter(1, slots, active), weights

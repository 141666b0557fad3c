"""Which tokens a run keeps, how many they are, and batches of instances that keep as many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

from tokenseek_common.data import IGNORE_INDEX, BatchOrder, Example
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._selection import kept_tokens
from tokenseek_core.training._settings import FinetuneSettings

MOST_SUPERVISED = 0.5
"""Share of supervised tokens up to which all of them are kept where nothing else is asked for."""


def carrying(example: Example) -> int:
    """Tokens of an example that carry the loss, since the next one is a label."""
    return sum(label != IGNORE_INDEX for label in example.labels[1:])


def supervised_share(examples: Sequence[Example]) -> float:
    """Share of the tokens that carry the loss."""
    tokens = sum(len(example.input_ids) for example in examples)
    return sum(map(carrying, examples)) / max(1, tokens)


def chosen_config(settings: FinetuneSettings, examples: Sequence[Example]) -> TokenSeekConfig:
    """TokenSeek's settings for these examples.

    Where they are answers behind prompts, and it is left open which tokens are kept, all that carry
    the loss are, unless that were so many that the steps would be dense.
    """
    usual = settings.config
    if not settings.rows_open or supervised_share(examples) > MOST_SUPERVISED:
        return usual
    answers = TokenSeekConfig.answers(settings.ratio)
    return usual if trains_densely(share_kept(examples, answers), answers) else answers


def trains_densely(share: float, config: TokenSeekConfig) -> bool:
    """Whether steps that keep this share of the tokens are dense ones."""
    return config.dense_above is not None and share >= config.dense_above


def kept_of(example: Example, config: TokenSeekConfig) -> int:
    """How many tokens a step keeps of an example."""
    return kept_tokens(len(example.input_ids), carrying(example), config)


def share_kept(examples: Sequence[Example], config: TokenSeekConfig) -> float:
    """Share of the tokens that steps over these examples keep."""
    tokens = sum(len(example.input_ids) for example in examples)
    return sum(kept_of(example, config) for example in examples) / max(1, tokens)


def told(config: TokenSeekConfig, share: float) -> str:
    """What is kept, in a sentence."""
    kept = f"keeps {share:.0%} of the tokens"
    if config.answer_ratio is None:
        return f"{kept}, chosen by {config.selector}"
    answers = "all" if config.answer_ratio == 1 else f"{config.answer_ratio:.0%} of those"
    return f"{kept}: {answers} that carry the loss, {config.ratio:.0%} of the others"


class AlikeTogether(Sampler[int]):
    """Places of examples in a random order in which those of a batch keep about as many tokens.

    A step's second pass has as many rows for each instance as that which keeps most.

    Args:
        kept: Tokens that are kept of each example.
        batch_size: Examples of a batch.
        seed: Decides the orders, with the epoch.
    """

    def __init__(self, kept: Sequence[int], *, batch_size: int, seed: int) -> None:
        self.batch_size = batch_size
        self.order = BatchOrder(kept, batch_size=batch_size, by_length=True, seed=seed)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order that the next pass takes."""
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        whole_first = sorted(self.order, key=len, reverse=True)  # or all after it would be mixed
        return (place for batch in whole_first for place in batch)

    def __len__(self) -> int:
        return len(self.order.lengths)

"""What the settings make of instances of which only a part carries the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from tokenseek_common.data import IGNORE_INDEX, Example
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._selection import kept_tokens

MOST_SUPERVISED = 0.5
"""Share of supervised tokens up to which all of them are kept where nothing else is asked for."""


class Instance(NamedTuple):
    """An instance by its tokens."""

    length: int
    """How many there are."""

    answers: int
    """How many of them carry the loss, since the next one is a label."""


def instance_of(example: Example) -> Instance:
    """An example by its tokens."""
    answers = sum(label != IGNORE_INDEX for label in example.labels[1:])
    return Instance(len(example.input_ids), answers)


def supervised_share(instances: Sequence[Instance]) -> float:
    """Share of the tokens that carry the loss."""
    return sum(each.answers for each in instances) / max(1, sum(each.length for each in instances))


def share_kept(instances: Sequence[Instance], config: TokenSeekConfig) -> float:
    """Share of the tokens that steps over these instances keep."""
    kept = sum(kept_tokens(*each, config) for each in instances)
    return kept / max(1, sum(each.length for each in instances))


def trains_densely(share: float, config: TokenSeekConfig) -> bool:
    """Whether steps that keep this share of the tokens are dense ones."""
    return config.dense_above is not None and share >= config.dense_above


def suited_config(usual: TokenSeekConfig, instances: Sequence[Instance]) -> TokenSeekConfig:
    """TokenSeek's settings for these instances where it is left open which tokens are kept.

    Where they are answers behind prompts, all that carry the loss are, unless that were so many
    that the steps would be dense.
    """
    if supervised_share(instances) > MOST_SUPERVISED:
        return usual
    # The preset says which tokens are kept and how; all else stays as it was asked for.
    preset = TokenSeekConfig.answers(usual.ratio)
    chosen = ("answer_ratio", "selector", "gradient", "logits")
    answers = replace(usual, **{name: getattr(preset, name) for name in chosen})
    return usual if trains_densely(share_kept(instances, answers), answers) else answers


def told(config: TokenSeekConfig, share: float) -> str:
    """What is kept, in a sentence."""
    kept = f"keeps {share:.0%} of the tokens"
    if config.answer_ratio is None:
        return f"{kept}, chosen by {config.selector}"
    answers = "all" if config.answer_ratio == 1 else f"{config.answer_ratio:.0%} of those"
    return f"{kept}: {answers} that carry the loss, {config.ratio:.0%} of the others"

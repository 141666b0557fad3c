"""Instances as TokenSeek sees them: every token with its score, and whether it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tokenseek_common.data import IGNORE_INDEX, Example
from tokenseek_core._apply import apply_tokenseek
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._keep import drawn
from tokenseek_core._kept_shares import KeptShares, kept_shares
from tokenseek_core._pieces import text_pieces
from tokenseek_core._scores import context_term, gradient_term
from tokenseek_core._signals import Signals
from tokenseek_core._token_classes import TokenClass, TokenClasses


@dataclass(frozen=True)
class SeenToken:
    """One token of an instance.

    Args:
        text: What it adds to the text; nothing if its letter is completed by the next token.
        kind: Its class.
        supervised: Whether it carries the loss, since the next token has a label.
        score: What the selector made of it; only the order means something.
        context: First term of Eq. 5, alpha * log I1; None where the last block has no attention.
        gradient: Second term, beta * Norm(I2).
        kept: Whether it carries gradient.
    """

    text: str
    kind: TokenClass
    supervised: bool
    score: float
    context: float | None
    gradient: float
    kept: bool


@dataclass(frozen=True)
class Seen:
    """Instances, token by token.

    Args:
        instances: The tokens of each.
    """

    instances: tuple[tuple[SeenToken, ...], ...]

    @property
    def shares(self) -> KeptShares:
        """How much is kept of each class, and of each part of an instance."""
        return kept_shares(
            [[(token.kind, token.kept) for token in instance] for instance in self.instances]
        )

    @property
    def supervised_share(self) -> float:
        """Share of the kept tokens that have a target."""
        kept = [token for instance in self.instances for token in instance if token.kept]
        return sum(token.supervised for token in kept) / max(1, len(kept))


class Terms(NamedTuple):
    """What Eq. 5 adds up, of each token."""

    context: Float[Tensor, "b s"] | None
    gradient: Float[Tensor, "b s"]


def seen(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    config: TokenSeekConfig,
) -> Seen:
    """Look at what a training step would keep of each example.

    Every example goes through a step of its own, whose gradient is thrown away, also where the
    config would train it densely. Both terms of Eq. 5 are computed beside the score, whatever the
    selector looks at.

    Args:
        model: A causal language model without TokenSeek applied; it is left as it was.
        tokenizer: Its own.
        examples: Token ids and labels.
        config: TokenSeek's settings.

    Returns:
        The tokens of each example, in their order.

    Raises:
        InputError: TokenSeek cannot train the model.

    Example:
        >>> found = seen(model, tokenizer, examples, TokenSeekConfig.paper())  # doctest: +SKIP
        >>> [token.text for token in found.instances[0] if token.kept]  # doctest: +SKIP
    """
    terms: list[Terms] = []

    def selector(signals: Signals) -> Float[Tensor, "b s"]:
        terms.append(_terms(signals, config))
        lengths = signals.valid.sum(1).tolist()
        return drawn(signals, lengths, config)[0]

    training, instances = model.training, []
    classes = TokenClasses(tokenizer)
    watched = replace(config, selector=selector, dense_above=None)
    try:
        with apply_tokenseek(model.train(), watched) as handle, torch.enable_grad():
            for example in examples:
                ids, labels = (
                    torch.tensor([row], device=model.device)
                    for row in (example.input_ids, example.labels)
                )
                model(input_ids=ids, labels=labels, use_cache=False)
                assert handle.last is not None
                kept = set(handle.last.indices[0].tolist())
                scores = handle.last.scores[0].tolist()
                pieces = text_pieces(example.input_ids, tokenizer)
                instances.append(_tokens(example, pieces, classes, scores, terms.pop(), kept))
    finally:
        model.train(training)
    return Seen(tuple(instances))


def _terms(signals: Signals, config: TokenSeekConfig) -> Terms:
    """Both terms of Eq. 5, the one without attention left out."""
    context = None
    if signals.received is not None:
        context = context_term(signals.context, alpha=config.alpha)
    return Terms(context, gradient_term(signals.gradient, signals.valid, beta=config.beta))


def _tokens(
    example: Example,
    pieces: Sequence[str],
    classes: TokenClasses,
    scores: Sequence[float],
    terms: Terms,
    kept: set[int],
) -> tuple[SeenToken, ...]:
    """One example, token by token."""
    answers = [label != IGNORE_INDEX for label in example.labels]
    context = [None] * len(pieces) if terms.context is None else terms.context[0].tolist()
    gradient = terms.gradient[0].tolist()
    return tuple(
        SeenToken(
            text=piece,
            kind=classes.of(example.input_ids[place], answer=answers[place]),
            supervised=place + 1 < len(answers) and answers[place + 1],
            score=scores[place],
            context=context[place],
            gradient=gradient[place],
            kept=place in kept,
        )
        for place, piece in enumerate(pieces)
    )

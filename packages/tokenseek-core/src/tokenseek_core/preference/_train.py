"""A loop that learns preferences by DPO, through the tokens of the answers and a few others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from tokenseek_common import InputError, RunError
from tokenseek_common.cli import check_counts, check_positive
from tokenseek_common.data import BatchOrder
from tokenseek_common.tuning import parameter_groups
from tokenseek_core._apply import TokenSeekHandle, apply_tokenseek
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._wrappers import unwrap
from tokenseek_core.preference._dpo import dpo_loss
from tokenseek_core.preference._pairs import Pair, PairBatch, PairScores, pair_batch


@dataclass(frozen=True, kw_only=True)
class PreferenceSettings:
    """How preferences are learnt.

    Args:
        ratio: Share of the prompts' tokens that carry gradient, in (0, 1]; the answers' all do.
        beta: How much the model is held to what it began as.
        learning_rate: The highest one; it falls to 0 along a cosine.
        epochs: Passes over the pairs.
        batch_size: Pairs of a step.
        max_norm: Gradients longer than this are shortened to it.
        seed: Decides the order of the pairs and which tokens of the prompts are drawn.

    Raises:
        InputError: A value is outside its range.
    """

    ratio: float = 0.1
    beta: float = 0.1
    learning_rate: float = 5e-6
    epochs: int = 1
    batch_size: int = 4
    max_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts({"epochs": self.epochs, "batch_size": self.batch_size})
        check_positive(
            {name: getattr(self, name) for name in ("beta", "learning_rate", "max_norm")}
        )
        _ = self.config

    @property
    def config(self) -> TokenSeekConfig:
        """TokenSeek's own settings."""
        return TokenSeekConfig.answers(self.ratio)


@dataclass(frozen=True)
class PreferenceResult:
    """What came of it.

    Args:
        losses: DPO's loss of every step, in nats a pair.
        accuracies: Share of every step's pairs whose better answer gained more than the worse one.
        kept_share: Share of the tokens that carried gradient in the last step.
    """

    losses: list[float]
    accuracies: list[float]
    kept_share: float


def train_preferences(
    model: nn.Module,
    pairs: Sequence[Pair],
    settings: PreferenceSettings | None = None,
    *,
    pad_token_id: int = 0,
) -> PreferenceResult:
    """Train a model to prefer the better answers.

    What it began as is asked for all log-probabilities before the first step, without dropout, so
    there is no second model.

    Args:
        model: A causal language model of transformers, also inside PEFT; its trainable parameters
            are trained in place.
        pairs: What to learn.
        settings: How; None takes the defaults.
        pad_token_id: What fills up shorter rows.

    Raises:
        InputError: The model cannot be trained so, or its attention window is shorter than a pair.
        RunError: A loss was not finite; the weights are as they were before that step.
    """
    settings = settings or PreferenceSettings()
    _require_sight(model, pairs)
    order = BatchOrder(
        [pair.length for pair in pairs],
        batch_size=settings.batch_size,
        by_length=True,
        seed=settings.seed,
    )
    torch.manual_seed(settings.seed)
    groups = parameter_groups(model, learning_rate=settings.learning_rate, weight_decay=0.0)
    optimizer = torch.optim.AdamW(groups)
    places = [batch for epoch in range(settings.epochs) for batch in order.batches(epoch)]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(places))
    losses: list[float] = []
    accuracies: list[float] = []
    training = model.training
    with apply_tokenseek(model, settings.config) as handle:
        model.eval()
        began = _scores(handle, pairs, settings.batch_size, pad_token_id)
        model.train()
        for step, chosen in enumerate(places):
            batch = _batch(handle.model, [pairs[place] for place in chosen], pad_token_id)
            policy = batch.scores(handle.token_losses(**batch.arguments))
            reference = PairScores(*(scores[chosen] for scores in began))
            each = dpo_loss(policy, reference, beta=settings.beta)
            loss = each.mean()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise RunError(
                    f"loss ({losses[-1]}) of step {step} must be finite; lower learning_rate or "
                    "look at the pairs"
                )
            # Below the loss of no preference, the better answer has gained more.
            accuracies.append((each < math.log(2)).float().mean().item())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.max_norm)
            optimizer.step()
            schedule.step()
        assert handle.last is not None
        kept = handle.last.active.sum() / sum(pairs[place].length for place in chosen)
    model.train(training)
    return PreferenceResult(losses, accuracies, float(kept))


def _scores(
    handle: TokenSeekHandle, pairs: Sequence[Pair], batch_size: int, pad_token_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of all better and all worse answers, [n] each, without gradient."""
    found: list[PairScores] = []
    with torch.no_grad():
        for first in range(0, len(pairs), batch_size):
            batch = _batch(handle.model, pairs[first : first + batch_size], pad_token_id)
            found.append(batch.scores(handle.token_losses(**batch.arguments)))
    chosen, rejected = ([getattr(s, name) for s in found] for name in ("chosen", "rejected"))
    return torch.cat(chosen), torch.cat(rejected)


def _batch(model: PreTrainedModel, pairs: Sequence[Pair], pad_token_id: int) -> PairBatch:
    """Lay pairs out as the model's attention takes them, on its device."""
    eager = str(model.config._attn_implementation).endswith("eager")
    additive = model.dtype if eager else None
    return pair_batch(pairs, pad_token_id=pad_token_id, additive=additive).to(model.device)


def _require_sight(model: nn.Module, pairs: Sequence[Pair]) -> None:
    """Refuse pairs that a sliding window would cut: a mask of our own stands in its place.

    Raises:
        InputError: There are none, or one is longer than the window.
    """
    if not pairs:
        raise InputError("pairs (0) must be at least one; give more of them")
    config = unwrap(model).config
    window = getattr(config, "sliding_window", None)
    longest = max(pair.length for pair in pairs)
    if window is not None and getattr(config, "use_sliding_window", True) and longest > window:
        raise InputError(
            f"pairs (of up to {longest} tokens) must fit the model's sliding window of {window}; "
            "leave the longer ones out"
        )

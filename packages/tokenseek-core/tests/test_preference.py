"""Pairs of answers behind one prompt: laid out in one row, scored, and learnt by DPO."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from exact import BOUND, exact_model
from families import tiny_model, with_lora
from slow_reference import gradients, relative_error, slow_attention
from taken import kept
from tiny_models import checkpointed
from tokenseek_common import InputError, RunError
from tokenseek_common.data import Example
from tokenseek_core import TokenSeekConfig, apply_tokenseek
from tokenseek_core.preference import (
    Pair,
    PairScores,
    PreferenceSettings,
    dpo_loss,
    pair_batch,
    pair_of,
    train_preferences,
)

ANSWERS = replace(TokenSeekConfig.answers(0.3), dense_above=None)


def drawn(count: int, generator: torch.Generator) -> list[int]:
    """Random tokens, of which none is padding."""
    tokens: list[int] = torch.randint(3, 61, (count,), generator=generator).tolist()
    return tokens


def some_pairs(count: int = 3) -> list[Pair]:
    """Prompts and answers of several lengths; the last answer ends with what is not learnt."""
    generator = torch.Generator().manual_seed(1)
    pairs = []
    for number in range(count):
        answers = [drawn(length, generator) for length in (4 + number % 3, 6 - number % 3)]
        chosen, rejected = (Example(answer, list(answer)) for answer in answers)
        pairs.append(Pair(drawn(5 + 2 * (number % 4), generator), chosen, rejected))
    rejected.labels[-1] = -100
    return pairs


def alone(model: Any, prompt: Sequence[int], answer: Example) -> Tensor:
    """Log-probability of an answer in a row of its own."""
    ids = torch.tensor([[*prompt, *answer.input_ids]])
    labels = torch.tensor([[-100] * len(prompt) + list(answer.labels)])
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    return -F.cross_entropy(logits[0], labels[0, 1:], reduction="sum", ignore_index=-100)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_answers_have_the_log_probabilities_that_they_have_in_rows_of_their_own(
    monkeypatch: pytest.MonkeyPatch, family: str, attention: str
) -> None:
    model = exact_model(monkeypatch, family).eval()
    model.set_attn_implementation(attention)
    pairs = some_pairs()
    batch = pair_batch(pairs, additive=torch.float64 if attention == "eager" else None)
    with torch.no_grad(), apply_tokenseek(model, ANSWERS) as handle:
        scores = batch.scores(handle.token_losses(**batch.arguments))
        for row, pair in enumerate(pairs):
            chosen, rejected = (
                alone(model, pair.prompt, pair.chosen),
                alone(model, pair.prompt, pair.rejected),
            )
            torch.testing.assert_close(scores.chosen[row], chosen)
            torch.testing.assert_close(scores.rejected[row], rejected)


def slow_scores(model: Any, batch: Any) -> PairScores:
    """Of all logits, as the layout has them."""
    inputs = {name: value for name, value in batch.arguments.items() if name != "labels"}
    if inputs["attention_mask"].dtype == torch.bool:  # the slow attention adds it
        lowest = torch.finfo(torch.float64).min
        hidden = ~inputs["attention_mask"]
        inputs["attention_mask"] = torch.zeros(hidden.shape).double().masked_fill(hidden, lowest)
    logits = model(**inputs, use_cache=False).logits
    targets = F.pad(batch.arguments["labels"][:, 1:], (0, 1), value=-100)
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    scores: PairScores = batch.scores(losses)
    return scores


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_gradient_is_that_of_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, lora: bool, checkpointing: bool
) -> None:
    inner = exact_model(monkeypatch, "llama-tied")
    model = with_lora(inner) if lora else inner
    checkpointed(inner, enable=checkpointing)
    batch = pair_batch(some_pairs())
    reference = PairScores(torch.zeros(3).double(), torch.ones(3).double())
    with apply_tokenseek(model, ANSWERS) as handle:
        policy = batch.scores(handle.token_losses(**batch.arguments))
        dpo_loss(policy, reference).sum().backward()
        keep = kept(handle, batch.chosen.shape)
    found = gradients(model)
    assert bool(keep[batch.chosen | batch.rejected].all())
    checkpointed(inner, enable=False)
    with slow_attention(inner, keep):
        dpo_loss(slow_scores(model, batch), reference).sum().backward()
    assert relative_error(found, gradients(model)) < BOUND


def test_padding_is_neither_kept_nor_counted() -> None:
    pairs, model = some_pairs(), tiny_model("llama")
    batch = pair_batch(pairs)
    with apply_tokenseek(model, ANSWERS) as handle:
        handle.token_losses(**batch.arguments)
        assert handle.last is not None
        for row, pair in enumerate(pairs):
            active = handle.last.indices[row, handle.last.active[row]]
            carrying = int((batch.chosen | batch.rejected)[row].sum())
            assert int(active.max()) < pair.length
            assert len(active) == carrying + math.ceil(0.3 * (pair.length - carrying) - 1e-9)


def test_conversations_are_parted_where_they_differ() -> None:
    chosen = Example([5, 6, 7, 8, 9], [-100, -100, -100, 8, 9])
    rejected = Example([5, 6, 7, 8, 4], [-100, -100, -100, 8, 4])
    pair = pair_of(chosen, rejected)
    assert list(pair.prompt) == [5, 6, 7], "what is learnt alike is learnt in both"
    assert list(pair.chosen.input_ids) == [8, 9]
    assert list(pair.rejected.labels) == [8, 4]
    assert pair.length == 8


@pytest.mark.parametrize(
    ("chosen", "rejected", "text"),
    [
        (Example([5], [5]), Example([6], [6]), "prompt (0 tokens) must have at least one"),
        (Example([5, 6], [-100, 6]), Example([5, 7], [-100, -100]), "rejected (1 tokens) must"),
    ],
)
def test_what_is_no_pair_is_refused(chosen: Example, rejected: Example, text: str) -> None:
    with pytest.raises(InputError) as error:
        pair_of(chosen, rejected)
    assert str(error.value).startswith(text)


def test_the_loss_is_the_published_one() -> None:
    policy = PairScores(torch.tensor([-1.0, -4.0]), torch.tensor([-3.0, -2.0]))
    reference = PairScores(torch.tensor([-2.0, -2.0]), torch.tensor([-2.0, -2.0]))
    expected = [math.log1p(math.exp(-0.5 * margin)) for margin in (2.0, -2.0)]
    assert dpo_loss(policy, reference, beta=0.5).tolist() == pytest.approx(expected)


def learnable(count: int) -> list[Pair]:
    """Behind any prompt, repeating its first token is better than repeating another one."""
    generator = torch.Generator().manual_seed(2)
    pairs = []
    for _ in range(count):
        prompt = drawn(8, generator)
        better, worse = ([token] * 3 for token in (prompt[0], prompt[0] % 50 + 5))
        pairs.append(Pair(prompt, Example(better, better), Example(worse, worse)))
    return pairs


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_preferences_are_learnt_and_nothing_is_left_behind(lora: bool) -> None:
    inner = tiny_model("llama")
    model = with_lora(inner).float() if lora else inner.float()
    before = {name: value.clone() for name, value in model.named_parameters()}
    settings = PreferenceSettings(learning_rate=1e-2, epochs=4, batch_size=8, ratio=0.2)
    result = train_preferences(model, learnable(64), settings)
    assert len(result.losses) == 32
    assert result.losses[0] == pytest.approx(math.log(2), abs=1e-4), "it begins as its reference"
    assert sum(result.losses[-4:]) / 4 < (0.55 if lora else 0.3)
    assert sum(result.accuracies[-4:]) / 4 > (0.75 if lora else 0.9)
    assert 0.4 < result.kept_share < 0.6
    moved = {n: not torch.equal(v, before[n]) for n, v in model.named_parameters()}
    assert all(moved[n] == v.requires_grad for n, v in model.named_parameters())
    assert "forward" not in vars(inner)
    assert model.training


def test_a_run_repeats_itself() -> None:
    losses = [train_preferences(tiny_model("llama").float(), learnable(8)).losses for _ in range(2)]
    assert losses[0] == losses[1]


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    settings = PreferenceSettings(learning_rate=1e30)
    with pytest.raises(RunError, match=r"loss \(nan\) of step 1 must be finite"):
        train_preferences(tiny_model("llama").float(), learnable(8), settings)


def test_what_cannot_be_trained_on_is_refused() -> None:
    with pytest.raises(InputError, match=r"pairs \(0\) must be at least one"):
        train_preferences(tiny_model("llama"), [])
    with pytest.raises(InputError, match="must fit the model's sliding window of"):
        train_preferences(tiny_model("mistral"), learnable(1))
    with pytest.raises(InputError, match=r"batch_size \(0\) must be at least 1"):
        PreferenceSettings(batch_size=0)

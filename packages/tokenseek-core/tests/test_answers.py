"""Answers behind prompts: all tokens that carry the loss, and a share of the others."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from exact import BOUND, assert_exact, exact_model
from families import packed_batch, tiny_batch, with_lora
from slow_inject import slow_inject
from slow_reference import gradients, relative_error, slow_loss
from taken import kept, take_step
from tiny_models import checkpointed
from tokenseek_core import TokenSeekConfig, apply_tokenseek
from tokenseek_core._projection import project_rows

ANSWERS = replace(TokenSeekConfig.answers(0.2), dense_above=None)
HALF = replace(ANSWERS, answer_ratio=0.5)


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    return exact_model(monkeypatch, "llama-tied")


def carrying(batch: dict[str, Tensor]) -> Tensor:
    """Tokens whose next one is a label, of those that are not padding."""
    labels = batch["labels"]
    targets = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], dim=1)
    return (targets != -100) & (batch.get("attention_mask", torch.ones_like(labels)) == 1)


def turns(padding: str = "none") -> dict[str, Tensor]:
    """Instances with two answers each, behind two prompts, the second ones of many lengths."""
    batch = tiny_batch(padding)
    ends = batch["labels"].shape[1] - (batch["labels"] != -100).flip(1).int().argmax(1)
    for row, end in enumerate(ends.tolist()):
        batch["labels"][row, end - 4 : end - 2 + row % 2] = -100
        if end > 13:
            batch["labels"][row, end - 9 : end - 7] = -100
    return batch


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("config", [ANSWERS, HALF], ids=["all", "half"])
def test_gradient_equals_the_slow_reference(
    llama: PreTrainedModel, config: TokenSeekConfig, padding: str, checkpointing: bool
) -> None:
    batch = turns(padding)
    taken = take_step(checkpointed(llama, enable=checkpointing), batch, config)
    checkpointed(llama, enable=False)
    reference = slow_loss(llama, batch, taken.keep)
    reference.backward()
    assert taken.loss == pytest.approx(reference.item(), rel=BOUND)
    assert relative_error(taken.gradients, gradients(llama)) < BOUND
    answers = carrying(batch)
    real = batch.get("attention_mask", torch.ones_like(batch["labels"])).sum(1)
    for row, (n, others) in enumerate(zip(answers.sum(1), real - answers.sum(1), strict=True)):
        assert config.answer_ratio is not None
        assert (taken.keep & answers)[row].sum() == math.ceil(config.answer_ratio * int(n))
        assert (taken.keep & ~answers)[row].sum() == math.ceil(0.2 * int(others))


@pytest.mark.parametrize("family", ["gpt2", "mistral", "gpt_neox", "qwen3"])
def test_other_families_equal_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    assert_exact(exact_model(monkeypatch, family), turns("left"), ANSWERS)


def test_packed_sequences_equal_the_slow_reference(llama: PreTrainedModel) -> None:
    batch = packed_batch()
    batch["labels"][:, :8] = -100
    batch["labels"][:, 14:19] = -100
    assert_exact(llama, batch, ANSWERS)


def test_adapters_equal_the_slow_reference(llama: PreTrainedModel) -> None:
    assert_exact(llama, turns("right"), ANSWERS, outer=with_lora(llama))


@pytest.mark.parametrize("selector", ["random", "gradient"])
@pytest.mark.parametrize("padding", ["none", "left"])
def test_injected_adjoints_equal_the_slow_reference(
    llama: PreTrainedModel, padding: str, selector: Any
) -> None:
    batch = turns(padding)
    config = replace(HALF, gradient="inject", selector=selector)
    taken = take_step(llama, batch, config)
    loss = slow_inject(llama, batch, taken.keep)
    assert taken.loss == pytest.approx(loss.item(), rel=BOUND)
    assert relative_error(taken.gradients, gradients(llama)) < BOUND


@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_sampled_tokens_of_both_parts_weigh_what_they_stand_for(
    llama: PreTrainedModel, gradient: Any
) -> None:
    batch = turns("right")
    config = replace(HALF, gradient=gradient, selector="sampled")
    with apply_tokenseek(llama, config) as handle:
        loss = llama(**batch).loss
        loss.backward()
        assert handle.last is not None
        weights = torch.ones(batch["labels"].shape, dtype=torch.float64)
        weights.scatter_(1, handle.last.indices, handle.last.importance.double())
        keep = kept(handle, batch["labels"].shape)
    found = gradients(llama)
    if gradient == "restart":
        slow_loss(llama, batch, keep, importance=weights).backward()
    else:
        slow_inject(llama, batch, keep, importance=weights)
    assert relative_error(found, gradients(llama)) < 1e-6  # the draw is made in float32
    of_parts = [weights[keep & part] for part in (carrying(batch), ~carrying(batch))]
    assert all((part > 1).any() for part in of_parts)


@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_every_token_kept_equals_the_untouched_model(llama: PreTrainedModel, padding: str) -> None:
    batch = turns(padding)
    dense = llama(**batch).loss
    dense.backward()
    expected = gradients(llama)
    taken = take_step(llama, batch, replace(ANSWERS, ratio=1.0))
    assert taken.loss == pytest.approx(dense.item(), rel=BOUND)
    assert relative_error(taken.gradients, expected) < BOUND


def test_the_loss_is_the_dense_one_whatever_is_drawn(llama: PreTrainedModel) -> None:
    batch = turns("right")
    dense = llama(**batch).loss.item()
    for seed in range(3):
        torch.manual_seed(seed)
        assert take_step(llama, batch, ANSWERS).loss == pytest.approx(dense, rel=BOUND)


def test_a_batch_equals_its_accumulated_instances(llama: PreTrainedModel) -> None:
    batch = turns("right")
    items = int(carrying(batch).sum())
    torch.manual_seed(5)
    together = take_step(llama, batch, ANSWERS)
    torch.manual_seed(5)
    with apply_tokenseek(llama, ANSWERS) as handle:
        for row in range(3):
            one = {name: value[row : row + 1] for name, value in batch.items()}
            llama(**one, num_items_in_batch=items).loss.backward()
            assert torch.equal(kept(handle, one["labels"].shape)[0], together.keep[row])
    assert relative_error(gradients(llama), together.gradients) < BOUND


def test_every_prompt_token_is_drawn_at_times(llama: PreTrainedModel) -> None:
    batch = turns()
    drawn = torch.zeros_like(batch["labels"])
    with apply_tokenseek(llama, replace(ANSWERS, check=False)) as handle, torch.no_grad():
        for _ in range(60):
            with torch.enable_grad():
                llama(**batch)
            drawn += kept(handle, drawn.shape)
    assert bool((drawn > 0).all())
    assert bool((drawn[carrying(batch)] == 60).all())


def test_pass_one_asks_neither_for_the_head_nor_for_a_graph(
    llama: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []

    def watch(table: Tensor, hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows.append(len(hidden))
        return project_rows(table, hidden, target)

    def refuse(*given: object, **settings: object) -> Tensor:
        raise AssertionError("a backward ran")

    batch = turns("right")
    with apply_tokenseek(llama, replace(ANSWERS, check=False)):
        monkeypatch.setattr("tokenseek_core._anatomy.Anatomy.pull_back", refuse)
        monkeypatch.setattr("tokenseek_core._head.project_rows", watch)
        llama(**batch)
    assert rows == [int(carrying(batch).sum())]


def test_a_batch_that_is_nearly_all_answers_is_taken_densely(llama: PreTrainedModel) -> None:
    batch = tiny_batch()  # three quarters are supervised
    dense = llama(**batch).loss
    dense.backward()
    expected = gradients(llama)
    with apply_tokenseek(llama, TokenSeekConfig.answers()) as handle:
        output = llama(**batch)
        output.loss.backward()
        assert handle.last is None
        assert output.logits.shape[:2] == batch["labels"].shape
    assert relative_error(gradients(llama), expected) == 0


def test_the_preset_is_all_that_carries_the_loss_and_a_tenth_of_the_others() -> None:
    preset = TokenSeekConfig.answers()
    assert (preset.ratio, preset.answer_ratio) == (0.1, 1.0)
    assert (preset.selector, preset.gradient, preset.logits) == ("random", "restart", False)
    assert TokenSeekConfig.answers(0.05).ratio == 0.05

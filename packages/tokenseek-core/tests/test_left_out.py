"""What share of the gradient goes through tokens that are left out, and when it is said."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from exact import exact_model
from families import tiny_model
from test_answers import ANSWERS, carrying, turns
from tiny_models import checkpointed
from tokenseek_core import TokenSeekConfig, apply_tokenseek
from tokenseek_core._left_out import left_out_share

WARNING = "of the gradient would go through prompt tokens that are left out"


def slow_share(model: PreTrainedModel, batch: dict[str, Tensor], keep: Tensor) -> float:
    """Of a dense backward to the embeddings."""
    embeddings = model.get_input_embeddings()(batch["input_ids"]).detach()
    embeddings.requires_grad_()
    inputs = {n: v for n, v in batch.items() if n not in ("input_ids", "labels")}
    logits = model(inputs_embeds=embeddings, **inputs, use_cache=False).logits
    targets = F.pad(batch["labels"][:, 1:], (0, 1), value=-100)
    F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    assert embeddings.grad is not None
    norms = embeddings.grad.square().sum(-1)
    model.zero_grad()
    return float(norms[~keep].sum() / norms.sum())


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("padding", ["none", "left"])
def test_the_share_is_that_of_a_dense_backward(
    monkeypatch: pytest.MonkeyPatch, padding: str, checkpointing: bool
) -> None:
    model, batch = exact_model(monkeypatch, "llama-tied"), turns(padding)
    checkpointed(model, enable=checkpointing)
    keep = carrying(batch)
    with apply_tokenseek(model, ANSWERS) as handle:
        sorted_out = handle._batch_to_step(batch)
        found = left_out_share(handle._anatomy, sorted_out, keep)
        alone = left_out_share(handle._anatomy, sorted_out.first(), keep[:1])
    assert all(parameter.grad is None for parameter in model.parameters())
    checkpointed(model, enable=False)
    assert found == pytest.approx(slow_share(model, batch, keep), rel=1e-9)
    one = {name: value[:1] for name, value in batch.items()}
    assert alone == pytest.approx(slow_share(model, one, keep[:1]), rel=1e-9)


def steps(count: int, config: TokenSeekConfig, monkeypatch: pytest.MonkeyPatch, much: float) -> Any:
    """Take so many; what was warned of."""
    monkeypatch.setattr("tokenseek_core._left_out.MUCH", much)
    model = tiny_model("llama")
    with warnings.catch_warnings(record=True) as told, apply_tokenseek(model, config):
        warnings.simplefilter("always")
        for _ in range(count):
            model(**turns()).loss.backward()
    return [str(warning.message) for warning in told]


def test_much_is_said_once_after_the_first_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenseek_core._left_out.LOOKED_AT", (5, 12))
    (told,) = steps(8, ANSWERS, monkeypatch, 0.0)
    assert WARNING in told
    assert told.endswith("take a larger ratio than 0.2")
    assert steps(7, ANSWERS, monkeypatch, 0.0) == [], "four steps are looked at"


def test_what_goes_through_them_later_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([0.1, 0.2, 0.1, 0.2, 0.9, 0.8, 0.6, 0.7])
    monkeypatch.setattr("tokenseek_core._left_out.LOOKED_AT", (2, 9))
    monkeypatch.setattr("tokenseek_core._left_out.left_out_share", lambda *given: next(shares))
    (told,) = steps(14, ANSWERS, monkeypatch, 0.5)
    assert told.startswith("75% of the gradient")
    assert next(shares, None) is None


@pytest.mark.parametrize(
    ("config", "much"),
    [
        (ANSWERS, 1.0),
        (replace(ANSWERS, check=False), 0.0),
        (replace(ANSWERS, answer_ratio=None), 0.0),
    ],
    ids=["little", "no check", "no answers"],
)
def test_otherwise_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, config: TokenSeekConfig, much: float
) -> None:
    assert steps(13, config, monkeypatch, much) == []


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_looking_leaves_a_run_as_it_is(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    found = []
    for check in (True, False):
        model = tiny_model(family)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.1
        torch.manual_seed(3)
        optimizer = torch.optim.SGD(model.parameters(), 1e-2)
        monkeypatch.setattr("tokenseek_core._left_out.MUCH", 1.0)
        with apply_tokenseek(model, replace(ANSWERS, check=check)):
            for _ in range(14):
                model(**turns()).loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        found.append(torch.cat([value.flatten() for value in model.parameters()]))
    assert torch.equal(*found)

"""Every family against the slow reference, with everything that a step is combined with.

A narrow matrix has each family twice and each value of each axis many times; the wide one, which
`nox -s matrix` runs, has every combination.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from families import FAMILIES, tiny_batch, tiny_model, with_lora
from float64 import spare_float64
from slow_inject import slow_inject
from slow_reference import gradients, relative_error, slow_loss
from taken import always, take_step
from tiny_models import checkpointed

BOUND = 1e-10
GRADIENTS = ("restart", "inject")
PARAMETERS = ("full", "lora")
CHECKPOINTING = ("plain", "checkpointing")
PADDING = ("none", "left", "right")


class Case(NamedTuple):
    """One combination."""

    family: str
    gradient: str
    parameters: str
    checkpointing: str
    padding: str


WIDE = [
    Case(*values)
    for values in itertools.product(FAMILIES, GRADIENTS, PARAMETERS, CHECKPOINTING, PADDING)
]


def narrow() -> list[Case]:
    """Each family twice: the second time, every other axis has moved on."""
    return [
        Case(
            family,
            GRADIENTS[(number + turn) % len(GRADIENTS)],
            PARAMETERS[turn],
            CHECKPOINTING[(number // 2 + turn) % 2],
            PADDING[(number + turn) % 3],
        )
        for number, family in enumerate(FAMILIES)
        for turn in range(2)
    ]


def reference(
    gradient: str, model: PreTrainedModel, batch: dict[str, Tensor], keep: Tensor
) -> float:
    """Leave the gradients in `.grad`, and return the loss."""
    if gradient == "inject":
        return slow_inject(model, batch, keep).item()
    loss = slow_loss(model, batch, keep)
    loss.backward()
    return loss.item()


def assert_exact(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    model = tiny_model(case.family)
    spare_float64(monkeypatch)
    trained: nn.Module = with_lora(model) if case.parameters == "lora" else model
    batch = tiny_batch(case.padding)
    checkpointed(model, enable=case.checkpointing == "checkpointing")

    taken = take_step(trained, batch, always(gradient=case.gradient))

    assert all("lora" in name for name in taken.gradients) == (case.parameters == "lora")
    checkpointed(model, enable=False)
    expected = reference(case.gradient, model, batch, taken.keep)
    assert taken.loss == pytest.approx(expected, rel=BOUND)
    assert relative_error(taken.gradients, gradients(trained)) < BOUND


def test_the_narrow_matrix_has_every_value_of_every_axis() -> None:
    for one_axis, of_the_wide in zip(
        zip(*narrow(), strict=True), zip(*WIDE, strict=True), strict=True
    ):
        assert set(one_axis) == set(of_the_wide)


@pytest.mark.parametrize("case", narrow(), ids="-".join)
def test_gradient_equals_the_slow_reference(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    assert_exact(monkeypatch, case)


@pytest.mark.matrix
@pytest.mark.parametrize("case", WIDE, ids="-".join)
def test_gradient_equals_the_slow_reference_in_every_combination(
    monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    assert_exact(monkeypatch, case)


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("family", FAMILIES)
def test_keeping_every_token_without_position_ids_equals_the_untouched_model(
    monkeypatch: pytest.MonkeyPatch, family: str, padding: str
) -> None:
    model = tiny_model(family)
    spare_float64(monkeypatch)
    batch = tiny_batch(padding)
    batch.pop("position_ids", None)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs).logits
    dense = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    dense.backward()
    expected = gradients(model)

    taken = take_step(model, batch, always(ratio=1.0))

    every = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()
    assert torch.equal(taken.keep, every)
    assert taken.loss == pytest.approx(dense.item(), rel=BOUND)
    assert relative_error(taken.gradients, expected) < BOUND


@pytest.mark.parametrize("family", FAMILIES)
def test_sparing_float64_changes_nothing_but_the_rounding(
    monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    model = tiny_model(family)
    batch = tiny_batch()
    rounded = model(**batch)
    spare_float64(monkeypatch)
    spared = model(**batch)
    assert spared.loss.dtype == torch.float64
    assert torch.allclose(spared.logits, rounded.logits, rtol=0, atol=1e-5)
    assert spared.loss.item() == pytest.approx(rounded.loss.item(), rel=1e-6)

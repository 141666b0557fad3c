"""Models that no decoder with a language-model head is, held to the slow reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from families import with_lora
from float64 import spare_float64
from heads import CASES, TASKS, assert_exact_step, assert_reference, headed
from slow_reference import gradients, relative_error
from taken import always, take_step
from test_trainer import trainer
from tiny_models import checkpointed
from tokenseek_core import apply_tokenseek

BOUND = 1e-10

CASE = pytest.mark.parametrize(("family", "task"), CASES, ids=[f"{f}-{t}" for f, t in CASES])
GRADIENT = pytest.mark.parametrize("gradient", ["restart", "inject"])


def padded(task: str) -> str:
    """The side of a batch's padding: where a head looks for a span it reads padding as well, which
    attends to what its backend likes.
    """
    return "none" if task == "span" else "right"


@CASE
@GRADIENT
def test_a_step_has_the_gradient_of_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, family: str, task: str, gradient: Any
) -> None:
    model = headed(family, task)
    spare_float64(monkeypatch)
    batch = TASKS[task].batch(padded(task))
    taken = assert_exact_step(model, task, batch, always(gradient=gradient))
    assert 0 < taken.keep.float().mean() < 0.5


@CASE
@GRADIENT
def test_with_every_row_kept_it_is_the_untouched_model(
    monkeypatch: pytest.MonkeyPatch, family: str, task: str, gradient: Any
) -> None:
    model, batch = headed(family, task), TASKS[task].batch(padded(task))
    spare_float64(monkeypatch)
    taken = take_step(model, batch, always(1.0, gradient=gradient))
    loss = model(**batch).loss
    loss.backward()
    assert taken.loss == pytest.approx(loss.item(), rel=BOUND)
    assert relative_error(taken.gradients, gradients(model)) < BOUND


@pytest.mark.parametrize("selector", ["context", "sampled"])
@pytest.mark.parametrize("padding", ["none", "left"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize(
    ("family", "task"),
    [("bert", "masked"), ("bert", "sequence"), ("modernbert", "token"), ("siglip", "picture")],
    ids=lambda name: name,
)
@GRADIENT
def test_selectors_padding_and_checkpointing_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    task: str,
    checkpointing: bool,
    padding: str,
    selector: Any,
    gradient: Any,
) -> None:
    model = headed(family, task)
    spare_float64(monkeypatch)
    batch, config = TASKS[task].batch(padding), always(gradient=gradient, selector=selector)
    checkpointed(model, enable=checkpointing)
    taken = take_step(model, batch, config)
    checkpointed(model, enable=False)
    assert_reference(model, task, batch, taken, config)


@pytest.mark.parametrize(("family", "task"), [("bert", "sequence"), ("vit", "picture")])
@GRADIENT
def test_adapters_get_the_gradient_of_the_slow_reference(
    monkeypatch: pytest.MonkeyPatch, family: str, task: str, gradient: Any
) -> None:
    model = headed(family, task)
    adapted = with_lora(model)
    spare_float64(monkeypatch)
    batch, config = TASKS[task].batch("none"), always(gradient=gradient)
    taken = take_step(adapted, batch, config)
    assert_reference(model, task, batch, taken, config, outer=adapted)


@pytest.mark.parametrize(
    ("family", "task"),
    [
        ("bert", "masked"),
        ("modernbert", "masked"),
        ("bert", "sequence"),
        ("vit", "picture"),
        ("t5", "text"),
        ("llava", "llava"),
    ],
)
@GRADIENT
def test_a_trainer_with_every_row_kept_is_that_without_tokenseek(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, family: str, task: str, gradient: Any
) -> None:
    batch = TASKS[task].batch("none")
    instances = [{name: value[row] for name, value in batch.items()} for row in (0, 1, 2, 1)]
    weights = []
    for config in (None, always(1.0, gradient=gradient)):
        model = headed(family, task)
        spare_float64(monkeypatch)
        handle = apply_tokenseek(model, config) if config else None
        trainer(
            model,
            tmp_path,
            dataset=instances,
            optim="sgd",
            learning_rate=0.1,
            gradient_accumulation_steps=2,
            per_device_train_batch_size=1,
            lr_scheduler_type="constant",
        ).train()
        assert handle is None or handle.last is not None
        weights.append({name: p.detach() for name, p in model.named_parameters()})
    assert relative_error(weights[1], weights[0]) < BOUND


@pytest.mark.matrix
@pytest.mark.parametrize("parameters", ["full", "lora"])
@pytest.mark.parametrize("selector", ["tokenseek", "random", "gradient", "sampled"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@CASE
@GRADIENT
def test_a_step_has_the_gradient_of_the_slow_reference_in_every_combination(
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    task: str,
    checkpointing: bool,
    selector: Any,
    gradient: Any,
    parameters: str,
) -> None:
    model = headed(family, task)
    outer = with_lora(model) if parameters == "lora" else model
    spare_float64(monkeypatch)
    batch, config = (
        TASKS[task].batch(padded(task)),
        always(gradient=gradient, selector=selector),
    )
    checkpointed(model, enable=checkpointing)
    taken = take_step(outer, batch, config)
    checkpointed(model, enable=False)
    assert_reference(model, task, batch, taken, config, outer=outer)

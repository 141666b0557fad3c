from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import (
    PreTrainedModel,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
)

from exact import BOUND, exact_model
from families import tiny_batch, tiny_model
from slow_reference import relative_error
from taken import always
from tokenseek_core import TokenSeekNotRunWarning, apply_tokenseek


def instances() -> list[dict[str, torch.Tensor]]:
    batch = tiny_batch()
    return [{name: value[row] for name, value in batch.items()} for row in range(3)] * 4


def trainer(
    model: PreTrainedModel,
    folder: Path,
    kind: type[Trainer] = Trainer,
    dataset: list[dict[str, torch.Tensor]] | None = None,
    **settings: Any,
) -> Trainer:
    own = {name: settings.pop(name) for name in ("compute_loss_func",) if name in settings}
    arguments_of = Seq2SeqTrainingArguments if kind is Seq2SeqTrainer else TrainingArguments
    arguments = arguments_of(
        output_dir=str(folder),
        max_steps=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        save_strategy="no",
        dataloader_pin_memory=False,
        **{"per_device_train_batch_size": 2} | settings,
    )
    return kind(model=model, args=arguments, train_dataset=dataset or instances(), **own)


def test_the_trainer_trains_through_the_kept_tokens(tmp_path: Path) -> None:
    model = tiny_model("llama").float()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with apply_tokenseek(model, always()) as handle:
        result = trainer(model, tmp_path, learning_rate=1e-3).train()
    assert handle.last is not None
    assert handle.last.indices.shape == (2, 6)
    assert result.training_loss > 0
    moved = [not torch.equal(value, before[name]) for name, value in model.state_dict().items()]
    assert all(moved)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("gradient", ["restart", "inject"])
@pytest.mark.parametrize("kind", [Trainer, Seq2SeqTrainer])
def test_a_trainer_with_every_token_kept_is_that_without_tokenseek(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Trainer], gradient: Any, order: str
) -> None:
    weights = []
    for config in (None, always(1.0, gradient=gradient)):
        model = exact_model(monkeypatch)
        handle = apply_tokenseek(model, config) if config and order == "before" else None
        settings: dict[str, Any] = {
            "optim": "sgd",
            "learning_rate": 0.1,
            "gradient_accumulation_steps": 2,
        }
        made = trainer(model, tmp_path, kind, **settings)
        if config and order == "after":
            handle = apply_tokenseek(model, config)
        made.train()
        assert (config is None) == (handle is None)
        assert handle is None or handle.last is not None
        weights.append({name: p.detach() for name, p in model.named_parameters()})
    assert relative_error(weights[1], weights[0]) < BOUND


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("gradient", ["restart", "inject"])
def test_a_loop_of_accelerate_with_every_token_kept_is_that_without_tokenseek(
    monkeypatch: pytest.MonkeyPatch, gradient: Any, order: str
) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # a Trainer leaves its own behind
    weights = []
    for config in (None, always(1.0, gradient=gradient)):
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
        model = exact_model(monkeypatch)
        handle = apply_tokenseek(model, config) if config and order == "before" else None
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        prepared, optimizer = accelerator.prepare(model, optimizer)
        if config and order == "after":
            handle = apply_tokenseek(prepared, config)
        for seed in range(4):
            with accelerator.accumulate(prepared):
                accelerator.backward(prepared(**tiny_batch("right", seed)).loss)
                optimizer.step()
                optimizer.zero_grad()
        assert (config is None) == (handle is None)
        assert handle is None or handle.last is not None
        weights.append({name: p.detach() for name, p in model.named_parameters()})
    assert relative_error(weights[1], weights[0]) < BOUND


def test_accumulation_in_the_trainer_does_not_change_the_weights(tmp_path: Path) -> None:
    weights = []
    for size, accumulate in ((4, 1), (1, 4)):
        model = tiny_model("llama")
        with apply_tokenseek(model, always(selector="random")):
            trainer(
                model,
                tmp_path,
                per_device_train_batch_size=size,
                gradient_accumulation_steps=accumulate,
                optim="sgd",
                max_grad_norm=0.0,
                learning_rate=0.1,
            ).train()
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*weights, rtol=0, atol=1e-6)


def mean_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    return F.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


@pytest.mark.parametrize(
    "settings", [{"label_smoothing_factor": 0.1}, {"compute_loss_func": mean_loss}]
)
def test_a_trainer_that_computes_the_loss_itself_is_noticed(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    model = tiny_model("llama").float()
    with (
        apply_tokenseek(model, always()) as handle,
        pytest.warns(TokenSeekNotRunWarning, match="label smoothing, compute_loss_func"),
    ):
        trainer(model, tmp_path, **settings).train()
    assert handle.last is None

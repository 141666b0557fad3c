from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, Trainer, TrainingArguments

from families import tiny_batch, tiny_model
from taken import always
from tokenseek_core import TokenSeekNotRunWarning, apply_tokenseek


def instances() -> list[dict[str, torch.Tensor]]:
    batch = tiny_batch()
    return [{name: value[row] for name, value in batch.items()} for row in range(3)] * 4


def trainer(model: PreTrainedModel, folder: Path, **settings: Any) -> Trainer:
    own = {name: settings.pop(name) for name in ("compute_loss_func",) if name in settings}
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        save_strategy="no",
        dataloader_pin_memory=False,
        **{"per_device_train_batch_size": 2} | settings,
    )
    return Trainer(model=model, args=arguments, train_dataset=instances(), **own)


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

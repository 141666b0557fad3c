from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("transformers")

from transformers import Trainer

from tokenseek_common.training import MemoryCallback, trainer_arguments


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": self.linear(x).square().mean()}


def trained(folder: Path, **settings: Any) -> tuple[Trainer, MemoryCallback]:
    torch.set_num_threads(1)
    arguments = trainer_arguments(
        folder, device=torch.device("cpu"), per_device_train_batch_size=2, **settings
    )
    rows: Any = [{"x": torch.ones(4)} for _ in range(16)]
    trainer = Trainer(Model(), arguments, train_dataset=rows)
    callback = MemoryCallback(trainer)
    trainer.add_callback(callback)
    trainer.train()
    return trainer, callback


def test_each_step_has_a_peak_and_each_record_the_largest_since_the_last(tmp_path: Path) -> None:
    trainer, callback = trained(tmp_path, max_steps=6, logging_steps=2)
    records = [r for r in trainer.state.log_history if "memory_peak_bytes" in r]
    assert [record["step"] for record in records] == [2, 4, 6]
    assert len(callback.peaks) == 6
    expected = [max(callback.peaks[start : start + 2]) for start in (0, 2, 4)]
    assert [record["memory_peak_bytes"] for record in records] == expected
    assert min(expected) > 2**20  # the resident set of a process


def test_the_loss_is_logged_all_the_same(tmp_path: Path) -> None:
    trainer, _ = trained(tmp_path, max_steps=4, logging_steps=2)
    losses = [record["step"] for record in trainer.state.log_history if "loss" in record]
    assert losses == [2, 4]


def test_a_step_of_several_batches_has_one_peak(tmp_path: Path) -> None:
    _, callback = trained(tmp_path, max_steps=2, logging_steps=1, gradient_accumulation_steps=2)
    assert len(callback.peaks) == 2


def test_logging_by_epoch_logs_the_largest_of_the_epoch(tmp_path: Path) -> None:
    trainer, callback = trained(tmp_path, num_train_epochs=2, logging_strategy="epoch")
    records = [r for r in trainer.state.log_history if "memory_peak_bytes" in r]
    assert [record["step"] for record in records] == [8, 16]
    assert records[0]["memory_peak_bytes"] == max(callback.peaks[:8])

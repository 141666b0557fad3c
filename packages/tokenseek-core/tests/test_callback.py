from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from families import tiny_batch, tiny_model
from taken import always
from tokenseek_core import TokenSeekCallback, TokenSeekConfig, apply_tokenseek


class Reporter(TrainerCallback):
    """What a reporter, such as a dashboard, is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, float]] = []

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.sent.append(dict(kwargs["logs"]))


def trained(folder: Path, config: TokenSeekConfig, **settings: Any) -> Reporter:
    model = tiny_model("llama").float()
    batch = tiny_batch()
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=4,
        per_device_train_batch_size=3,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        save_strategy="no",
        dataloader_pin_memory=False,
        **settings,
    )
    reporter = Reporter()
    instances = [{name: value[row] for name, value in batch.items()} for row in range(3)]
    with apply_tokenseek(model, config) as handle:
        trainer = Trainer(
            model=model, args=arguments, train_dataset=instances, callbacks=[reporter]
        )
        trainer.add_callback(TokenSeekCallback(handle, trainer))
        trainer.train()
    return reporter


@pytest.mark.parametrize(
    "settings",
    [{"logging_steps": 2}, {"logging_strategy": "epoch", "gradient_accumulation_steps": 2}],
    ids=["steps", "epochs"],
)
def test_what_was_kept_is_logged_whenever_the_loss_is(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    sent = trained(tmp_path, always(0.3), **settings).sent
    losses = [logs["epoch"] for logs in sent if "loss" in logs]
    kept = [logs for logs in sent if "kept_tokens" in logs]
    assert losses
    assert [logs["epoch"] for logs in kept] == losses, "neither takes the other's place"
    for logs in kept:
        assert logs["kept_tokens"] == 3 * 6, "three instances of 20 tokens"
        assert 0 < logs["supervised_share"] <= 1
        # keys and values of 3 layers x 3 instances x 2 heads x 20 tokens x 8 numbers of 4 bytes
        assert logs["kept_bytes"] == 2 * 3 * 3 * 2 * 20 * 8 * 4


def test_dense_steps_log_nothing_of_their_own(tmp_path: Path) -> None:
    sent = trained(tmp_path, TokenSeekConfig(ratio=1.0), logging_steps=1).sent
    assert sum("loss" in logs for logs in sent) == 4
    assert not any("kept_tokens" in logs for logs in sent)

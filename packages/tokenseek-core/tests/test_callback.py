from __future__ import annotations

import importlib
import json
import re
from importlib.util import find_spec
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
from tokenseek_common import InputError
from tokenseek_core import TokenSeekCallback, TokenSeekConfig, apply_tokenseek
from tokenseek_core._kept_shares import Kept
from tokenseek_core._recorded_step import read_recorded


class Reporter(TrainerCallback):
    """What a reporter, such as a dashboard, is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, float]] = []

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.sent.append(dict(kwargs["logs"]))


def trained(
    folder: Path,
    config: TokenSeekConfig,
    *,
    record_every: int | None = None,
    record_to: Path | None = None,
    **settings: Any,
) -> Reporter:
    model = tiny_model("llama").float()
    batch = tiny_batch()
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=4,
        per_device_train_batch_size=3,
        **{"report_to": "none"} | settings,
        disable_tqdm=True,
        use_cpu=True,
        save_strategy="no",
        dataloader_pin_memory=False,
    )
    reporter = Reporter()
    instances = [{name: value[row] for name, value in batch.items()} for row in range(3)]
    with apply_tokenseek(model, config) as handle:
        trainer = Trainer(
            model=model, args=arguments, train_dataset=instances, callbacks=[reporter]
        )
        trainer.add_callback(TokenSeekCallback(handle, trainer, record_every, record_to))
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
        assert logs["kept_share"] == pytest.approx(0.3)
        assert 0 < logs["supervised_share"] <= 1
        assert logs["score_std"] > 0
        assert logs["score_mean"] < logs["score_max"]
        # keys and values of 3 layers x 3 instances x 2 heads x 20 tokens x 8 numbers of 4 bytes
        assert logs["kept_bytes"] == 2 * 3 * 3 * 2 * 20 * 8 * 4


def test_dense_steps_log_nothing_of_their_own(tmp_path: Path) -> None:
    sent = trained(tmp_path, TokenSeekConfig(ratio=1.0), logging_steps=1).sent
    assert sum("loss" in logs for logs in sent) == 4
    assert not any("kept_tokens" in logs for logs in sent)


def test_every_second_step_is_recorded_from_the_first_on(tmp_path: Path) -> None:
    trained(tmp_path, always(0.3), record_every=2, logging_steps=4)
    first, last = read_recorded(tmp_path / "kept.jsonl")
    assert (first.step, last.step) == (1, 3)
    assert first.shares.all == Kept(60, 18)
    assert first.shares.by_class["prompt"].tokens == 15, "three instances with prompts of five"
    assert sum(part.kept for part in first.shares.by_position) == 18


def test_a_record_is_continued_where_it_is_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "first.jsonl"
    for _ in range(2):
        trained(tmp_path, always(0.3), record_every=3, record_to=log, logging_steps=4)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 4, 1, 4]


def test_dense_steps_record_nothing(tmp_path: Path) -> None:
    trained(tmp_path, TokenSeekConfig(ratio=1.0), record_every=1, logging_steps=4)
    assert not (tmp_path / "kept.jsonl").exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"record_every": 0},
            "record_every (0) must be at least 1, or None; 10 records every tenth step",
        ),
        (
            {"record_to": Path("log")},
            "record_to (log) must come with record_every; add record_every=10",
        ),
    ],
)
def test_a_record_that_cannot_be_is_refused(
    settings: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(expected)):
        trained(tmp_path, always(0.3), logging_steps=4, **settings)


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_has_shares_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    trained(tmp_path, always(0.3), logging_steps=2, report_to="tensorboard")
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    told = {"kept_share", "supervised_share", "score_mean", "score_std", "score_max"}
    assert {f"train/{name}" for name in told} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/kept_share")] == [2, 4]

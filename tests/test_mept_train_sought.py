"""`mept train --token-ratio` finds TokenSeek, though neither package imports the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mept.cli import main
from saved import mood_rows, save_rows, save_tiny
from tokenseek_core import StepReport
from tokenseek_core._step import training_step


def test_mept_train_takes_steps_of_tokenseek_and_scores_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[StepReport] = []

    def noted(*arguments: Any) -> Any:
        output, report = training_step(*arguments)
        reports.append(report)
        return output, report

    monkeypatch.setattr("tokenseek_core._apply.training_step", noted)
    model = save_tiny(tmp_path / "llama", "llama")
    moods = save_rows(tmp_path / "mood.jsonl", mood_rows(40))
    command = [
        *["train", "--model", str(model), "--task", f"mood={moods}", "--labels", "glad", "sad"],
        *["--num-virtual-tokens", "3", "--steps", "4", "--evaluate-every", "2", "--device", "cpu"],
    ]
    losses = {}
    for ratio in ("0.3", "0.1"):
        output = tmp_path / ratio
        assert main([*command, "--token-ratio", ratio, "-o", str(output), "--quiet"]) == 0
        losses[ratio] = json.loads((output / "result.json").read_text())["losses"]
    assert len(reports) == 8
    kept = [int(report.active.sum()) for report in reports]
    assert all(some > few > 0 for some, few in zip(kept[:4], kept[4:], strict=True))
    assert losses["0.3"] != losses["0.1"]

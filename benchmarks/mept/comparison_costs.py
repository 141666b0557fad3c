"""What a training step of each method costs: memory that autograd keeps, and processor time."""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from comparison_methods import adapted
from comparison_models import SETTINGS, load
from comparison_plan import RESULTS, Plan
from comparison_run import BATCH, computing, encode

from mept.training._quiet import libraries_quiet
from tokenseek_common.memory import saved_for_backward

REPEATS = 7
COSTS = RESULTS / "costs.json"
TASK = "rte"
"""Whose batch is measured: of the tasks that both models learn, the one with longer texts."""


@dataclass(frozen=True)
class Cost:
    """A training step of one method.

    Args:
        saved_bytes: What autograd keeps between the passes.
        seconds: Median processor time of forward and backward.
        tokens: Rows of the batch and their length, without prompts.
    """

    saved_bytes: int
    seconds: float
    tokens: tuple[int, int]


def recorded_costs(setting: str) -> dict[str, Cost]:
    """What was measured, by method."""
    if not COSTS.exists():
        return {}
    found = json.loads(COSTS.read_text(encoding="utf-8")).get(setting, {})
    return {name: Cost(**figures) for name, figures in found.items()}


def measure(setting_name: str) -> dict[str, Cost]:
    """Measure all methods on one batch, taking turns, so that a busy moment strikes all alike."""
    setting = SETTINGS[setting_name]
    plan = Plan(setting)
    rows = sorted(encode(setting_name, TASK).train, key=lambda row: len(row["input_ids"]))
    middle = len(rows) // 2
    steps: dict[str, Any] = {}
    saved: dict[str, int] = {}
    for method in setting.methods:
        shape = plan.shape(method) or {}
        model, form = load(setting, TASK)
        batch = form.collator(rows[middle : middle + BATCH])
        with libraries_quiet():
            model = adapted(model, method, shape, setting.task_type).train()
            saved[method] = saved_bytes(model, batch)
        steps[method] = model, batch
    times: dict[str, list[float]] = {method: [] for method in steps}
    for _ in range(REPEATS):
        for method, (model, batch) in steps.items():
            times[method].append(step_seconds(model, batch))
    return {
        method: Cost(saved[method], statistics.median(found[1:]), shape_of(steps[method][1]))
        for method, found in times.items()
    }


def shape_of(batch: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Rows and tokens of a batch."""
    rows, tokens = batch["input_ids"].shape
    return rows, tokens


def saved_bytes(model: Any, batch: dict[str, torch.Tensor]) -> int:
    """What autograd keeps at the end of a forward pass."""
    with saved_for_backward(model) as reading, computing():
        loss = model(**batch).loss
    loss.backward()
    model.zero_grad()
    return reading.report.live


def step_seconds(model: Any, batch: dict[str, torch.Tensor]) -> float:
    """Processor time of forward and backward."""
    begin = time.process_time()
    with computing():
        loss = model(**batch).loss
    loss.backward()
    seconds = time.process_time() - begin
    model.zero_grad()
    return seconds


def main() -> None:
    """Measure what is not recorded yet, of models whose shapes are chosen."""
    torch.set_num_threads(1)
    costs: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        if all(Plan(setting).shape(method) is not None for method in setting.methods):
            found = recorded_costs(name) or measure(name)
            costs[name] = {method: asdict(cost) for method, cost in found.items()}
    COSTS.write_text(json.dumps(costs, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(costs, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What is to be run next: rates first, then shapes, then seeds of what was chosen."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from comparison_methods import HEAD_RATE, Shape, equal_rank
from comparison_models import Setting
from comparison_run import Cell
from comparison_tasks import ROOT
from transformers import BertConfig

RESULTS = ROOT / "benchmarks/results/mept/comparison"
SEEDS = (0, 1, 2)

Record = dict[str, Any]
T = TypeVar("T")


def path_of(cell: Cell) -> Path:
    """Where a cell is recorded."""
    return RESULTS / cell.setting / cell.task / f"{cell.name}.json"


def record_of(cell: Cell) -> Record | None:
    """What a cell came to, if it was run."""
    path = path_of(cell)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


@dataclass(frozen=True)
class Plan:
    """The runs of one setting, and what is chosen by those that are recorded.

    A choice is None as long as a run that decides on it is missing.

    Args:
        setting: The model, its tasks and methods.
    """

    setting: Setting

    def cells(self) -> Iterator[Cell]:
        """All runs that can be named by now, in the order of the stages."""
        for method in self.setting.methods:
            yield from self.rate_cells(method)
        for method in self.setting.methods:
            yield from self.shape_cells(method)
        for seed in SEEDS:
            for method in self.setting.methods:
                yield from self.chosen_cells(method, seed)
        for tried in self.setting.tried:
            yield from self.tried_cells(*tried)

    def shapes(self, method: str) -> tuple[Shape, ...] | None:
        """The shapes of a method; LoRA's follows from the chosen mixture."""
        if method != "lora":
            return self.setting.methods[method].shapes
        mixture = self.shape("mept")
        return None if mixture is None else ({"rank": equal_rank(MINILM_CONFIG, mixture)},)

    def rate_cells(self, method: str) -> list[Cell]:
        """The runs that the rate of a method is chosen by."""
        shapes = self.shapes(method)
        if shapes is None:
            return []
        return [
            self.cell(task, method, shapes[0], rate, seed=0)
            for task in self.setting.rate_tasks
            for rate in self.setting.methods[method].rates
        ]

    def shape_cells(self, method: str) -> list[Cell]:
        """The runs that the shape of a method is chosen by."""
        shapes, rate = self.shapes(method), self.rate(method)
        if shapes is None or rate is None:
            return []
        return [
            self.cell(task, method, shape, rate, seed=0)
            for shape in shapes
            for task in self.setting.tasks
        ]

    def tried_cells(self, method: str, shape: Shape, rate: float) -> list[Cell]:
        """The runs of what is tried besides."""
        return [self.cell(task, method, shape, rate, seed=0) for task in self.setting.rate_tasks]

    def chosen_cells(self, method: str, seed: int) -> list[Cell]:
        """The runs of a method that are reported."""
        shape, rate = self.shape(method), self.rate(method)
        if shape is None or rate is None:
            return []
        return [self.cell(task, method, shape, rate, seed) for task in self.setting.tasks]

    def cell(self, task: str, method: str, shape: Shape, rate: float, seed: int) -> Cell:
        """A run; all that a probe trains is its head."""
        head_rate = rate if method == "probe" else HEAD_RATE
        return Cell(self.setting.name, task, method, shape, rate, head_rate, seed)

    def rate(self, method: str) -> float | None:
        """The rate with the best mean dev score over the tasks that rates are chosen on."""
        return best(self.rate_cells(method), lambda cell: cell.rate)

    def shape(self, method: str) -> Shape | None:
        """The shape with the best mean dev score over all tasks."""
        return best(self.shape_cells(method), lambda cell: cell.shape)


def best(cells: list[Cell], key: Callable[[Cell], T]) -> T | None:
    """What the cells with the best mean dev score have in common; the first of equals.

    None where a cell is missing, or there is none.
    """
    values: list[T] = []
    scores: list[list[float]] = []
    for cell in cells:
        record = record_of(cell)
        if record is None:
            return None
        if key(cell) not in values:
            values.append(key(cell))
            scores.append([])
        scores[values.index(key(cell))].append(record["dev_score"])
    means = [statistics.fmean(found) for found in scores]
    return values[means.index(max(means))] if means else None


MINILM_CONFIG = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12)
"""The sizes of MiniLM, for counting."""

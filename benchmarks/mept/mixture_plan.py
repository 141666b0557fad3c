"""What is to be run next of the study of mixtures, and what was.

In the mixture the rate of a method is that with the best dev score, by seed 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from comparison_methods import HEAD_RATE
from comparison_tasks import ROOT
from mixture_methods import METHODS
from mixture_run import FEW_SHOT, Cell, task_facts

RESULTS = ROOT / "benchmarks/results/mept/mixture"
SEEDS = (0, 1, 2)
SHOTS = (16, 32, 64)

MIXTURE = ("mept", "lora-active", "deep", "lora-stored", "prefix", "multitask", "probe")
REPEATED = ("mept", "lora-active", "lora-stored")
"""What is run in the mixture with other seeds first: those that are close enough to need them."""

FAST, FAST_HEAD = ("mept", "lora-active", "lora-stored", "prefix", "deep"), 1e-1
"""What is run with a head as fast as one alone too, and how fast that is."""

STREAM = ("mept", "lora-active", "ahead", "deep-active", "probe")
FEW = ("mept", "lora-active", "probe")

Record = dict[str, Any]


def records(group: str) -> dict[str, Record]:
    """All runs of a group, by the names of their cells."""
    path = RESULTS / f"{group}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def record_of(cell: Cell) -> Record | None:
    """What a cell came to, if it was run."""
    return records(cell.group).get(cell.name)


def write(cell: Cell, found: Record) -> None:
    """Record what a cell came to, a line each; a reader never sees half of it."""
    path = RESULTS / f"{cell.group}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = records(cell.group) | {cell.name: found}
    lines = (f"{json.dumps(name)}: {json.dumps(each)}" for name, each in sorted(known.items()))
    written = path.with_suffix(".new")
    written.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    written.replace(path)


def facts() -> dict[str, dict[str, float]]:
    """What is known of the tasks of the mixture without a model; see `task_facts`."""
    path = RESULTS / "tasks.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(task_facts(), indent=2) + "\n", encoding="utf-8")
    found: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def rate_cells(group: str, method: str, head_rate: float = HEAD_RATE) -> Iterator[Cell]:
    """The runs that a rate is chosen by."""
    tuned = METHODS[method]
    of_mixture = tuned.fast if head_rate == FAST_HEAD else tuned.rates
    for rate in of_mixture if group == "mixture" else tuned.alone:
        yield Cell(group, method, rate, SEEDS[0], head_rate=head_rate)


def chosen_rate(group: str, method: str, head_rate: float = HEAD_RATE) -> float | None:
    """The rate with the best dev score; None while a run is missing."""
    if group == "few-shot":
        return METHODS[method].alone[0]
    found = {cell.rate: record_of(cell) for cell in rate_cells(group, method, head_rate)}
    dev = {rate: record["dev_score"] for rate, record in found.items() if record is not None}
    return max(dev, key=lambda rate: dev[rate]) if len(dev) == len(found) else None


def chosen(
    group: str, methods: tuple[str, ...], *seeds: int, head_rate: float = HEAD_RATE
) -> Iterator[Cell]:
    """Runs at the rates that were chosen."""
    for seed in seeds:
        for method in methods:
            rate = chosen_rate(group, method, head_rate)
            if rate is not None:
                yield Cell(group, method, rate, seed, head_rate=head_rate)


def fast_heads() -> Iterator[Cell]:
    """Runs of the mixture whose head learns as fast as one alone, all seeds."""
    for methods in (FAST[:3], FAST[3:]):
        for method in methods:
            yield from rate_cells("mixture", method, FAST_HEAD)
        yield from chosen("mixture", methods, *SEEDS, head_rate=FAST_HEAD)


def few_shot(*seeds: int) -> Iterator[Cell]:
    """Runs with few samples."""
    for seed in seeds:
        for shots in SHOTS:
            for task in FEW_SHOT:
                for method in FEW:
                    yield Cell(task, method, METHODS[method].alone[0], seed, shots)


def rates(group: str, methods: tuple[str, ...]) -> Iterator[Cell]:
    """All runs that rates are chosen by."""
    for method in methods:
        yield from rate_cells(group, method)


STAGES: tuple[Callable[[], Iterator[Cell]], ...] = (
    lambda: chosen("mixture", REPEATED, 0, 1),
    lambda: rates("stream", STREAM),
    lambda: chosen("mixture", REPEATED, 2),
    lambda: rates("mixture", ("probe",)),
    lambda: chosen("mixture", ("probe",), 1, 2),
    fast_heads,
    lambda: few_shot(0),
    lambda: chosen("stream", STREAM, 1),
    lambda: rates("mixture", MIXTURE),
    lambda: few_shot(1),
    lambda: chosen("mixture", MIXTURE, 0, 1, 2),
    lambda: chosen("stream", STREAM, 2),
    lambda: few_shot(2),
)
"""What is run, in that order, so that a partial result is balanced."""


def missing() -> Iterator[Cell]:
    """The cells that can be run now, in order."""
    for stage in STAGES:
        for cell in stage():
            if record_of(cell) is None:
                yield cell

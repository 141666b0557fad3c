"""What is to be run next of the study of routers, and what was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from comparison_tasks import ROOT
from routing_run import MIXTURES, Cell
from routing_variants import ROUTERS, VARIANTS

RESULTS = ROOT / "benchmarks/results/mept/routing"
SEEDS = (0, 1, 2)
VARIANT_RATE = 1.5e-2
"""At which variants are tried: the better of two for the linear router."""

WRITING = ("linear", "kmeans", "slow")
"""The routers that SmolLM2 is given."""

Record = dict[str, Any]


def path_of(cell: Cell) -> Path:
    """Where a cell is recorded."""
    return RESULTS / cell.mixture / f"{cell.name}.json"


def record_of(cell: Cell) -> Record | None:
    """What a cell came to, if it was run."""
    path = path_of(cell)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def recorded(mixture: str) -> dict[tuple[str, float], list[Record]]:
    """All runs of a mixture by router and rate, in the order of their seeds."""
    found: dict[tuple[str, float], list[Record]] = {}
    files = sorted((RESULTS / mixture).glob("*.json"))
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    for run in sorted(runs, key=lambda run: run["seed"]):
        found.setdefault((run["router"], run["rate"]), []).append(run)
    return found


def rate_cells(router: str) -> list[Cell]:
    """The runs that the rate of a router is chosen by."""
    return [Cell("minilm", router, rate, 0) for rate in MIXTURES["minilm"].rates]


def rate(router: str) -> float | None:
    """The rate with the best dev score; None while a run is missing."""
    found = [record_of(cell) for cell in rate_cells(router)]
    known = [record for record in found if record is not None]
    if len(known) < len(found):
        return None
    best: float = max(known, key=lambda record: record["dev_score"])["rate"]
    return best


def seed_cells(router: str) -> list[Cell]:
    """The runs of a router that are reported."""
    chosen = rate(router)
    return [] if chosen is None else [Cell("minilm", router, chosen, seed) for seed in SEEDS]


def rates() -> Iterator[Cell]:
    """All runs that rates are chosen by."""
    for router in ROUTERS:
        yield from rate_cells(router)


def seeds() -> Iterator[Cell]:
    """All runs that are reported."""
    for seed in SEEDS:
        for router in ROUTERS:
            yield from [cell for cell in seed_cells(router) if cell.seed == seed]


def variants() -> Iterator[Cell]:
    """What is tried on one router."""
    yield from (Cell("minilm", variant, VARIANT_RATE, 0) for variant in VARIANTS)


def writing() -> Iterator[Cell]:
    """SmolLM2."""
    for seed in SEEDS[:1]:
        for router in WRITING:
            for at in MIXTURES["smollm2"].rates:
                yield Cell("smollm2", router, at, seed)


STAGES: dict[str, Callable[[], Iterator[Cell]]] = {
    "rates": rates,
    "seeds": seeds,
    "variants": variants,
    "writing": writing,
}


def missing(stages: list[str]) -> Iterator[Cell]:
    """The cells that can be run now, in order."""
    for stage in stages:
        for cell in STAGES[stage]():
            if not path_of(cell).exists():
                yield cell

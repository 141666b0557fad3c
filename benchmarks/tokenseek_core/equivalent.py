"""What a step is worth where every token is supervised, in dense steps, and what changes that.

The scale is dense training of a few steps to many, each with a cosine decay to its end. Each way to
train takes its learning rate on the dev set. A way's losses are a file under
benchmarks/results/tokenseek-core/equivalent/<task>; what is there is not run again, so a call that
was cut off goes on where it stopped. Name ways and seeds to run some of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from answers_tasks import adapted
from equivalent_ways import DENSE, LEVERS, MAIN, WAYS, Way
from study_runs import train
from study_tasks import ROOT, Batch, Task, gsm8k, shakespeare

from tokenseek_core.inspect import Method

RESULTS = ROOT / "benchmarks/results/tokenseek-core/equivalent"


@dataclass(frozen=True)
class Plan:
    """What is trained on one task.

    Args:
        task: Makes it.
        scale: Steps of dense trainings.
        steps: Of the ways and levers that are compared with it.
        seeds: Orders of the instances, and draws.
        ways: Those that are compared.
        levers: Those that change one thing of another.
    """

    task: Callable[[], Task]
    scale: tuple[int, ...]
    steps: int
    seeds: tuple[int, ...]
    ways: tuple[str, ...] = tuple(MAIN)
    levers: tuple[str, ...] = ()


def all_of_gsm8k() -> Task:
    """Word problems and their answers, all tokens supervised, by LoRA."""
    task = gsm8k(batch=2, held_out=32)

    def batch(generator: torch.Generator) -> Batch:
        return all_supervised(task.batch(generator))

    return replace(
        task,
        model=lambda: adapted(task.model()),
        batch=batch,
        dev=[],
        test=[all_supervised(part) for part in task.dev + task.test],
        rates=(1e-3,),
    )


def all_supervised(batch: Batch) -> Batch:
    """The same batch, with every real token a label."""
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    return batch | {"labels": labels}


PLANS = {
    "shakespeare": Plan(
        task=shakespeare,
        scale=(15, 30, 60, 120),
        steps=120,
        seeds=(0, 1, 2),
        levers=tuple(LEVERS),
    ),
    "gsm8k": Plan(
        task=all_of_gsm8k,
        scale=(6, 12, 24),
        steps=24,
        seeds=(0,),
        ways=("r10", "r30", "r10-slow"),
    ),
}


@dataclass(frozen=True)
class Cell:
    """One training: a way, its steps, and a seed."""

    way: str
    steps: int
    seed: int


def cells(plan: Plan) -> list[Cell]:
    """All trainings of a task, one seed of everything first."""
    found = []
    for seed in plan.seeds:
        found += [Cell(DENSE, steps, seed) for steps in plan.scale]
        found += [Cell(way, plan.steps, seed) for way in (*plan.ways, *plan.levers)]
    return found


def path_of(task: str, way: str) -> Path:
    """Where a way's losses lie."""
    return RESULTS / task / f"{way}.json"


def recorded(task: str, way: str) -> dict[str, Any]:
    """What is on disk of a way; nothing where it did not run."""
    path = path_of(task, way)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def losses(task: str, way: str, steps: int) -> Mapping[str, float]:
    """Held-out losses by seed."""
    found: Mapping[str, float] = recorded(task, way).get("loss", {}).get(str(steps), {})
    return found


def write(task: str, way: str, record: dict[str, Any]) -> None:
    """Write one way's file."""
    path = path_of(task, way)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def fewer(task: Task, share: float) -> Task:
    """The task with the first of each batch's instances alone."""

    def batch(generator: torch.Generator) -> Batch:
        whole = task.batch(generator)
        return {name: each[: round(share * len(each))] for name, each in whole.items()}

    return task if share == 1 else replace(task, batch=batch)


def loss_of(task: Task, way: Way, rate: float, steps: int, seed: int, *, dev: bool) -> float:
    """The held-out loss of one training."""
    run = train(
        fewer(task, way.instances),
        Method("", way.config),
        rate=rate * way.rate_factor,
        seed=seed,
        stops=[steps],
        dev=dev,
        decay=True,
        beta2=way.beta2,
        below=way.below,
        ratio=way.ratio,
    )
    return run.losses[steps]


def rate_of(task: Task, plan: Plan, name: str, steps: int) -> float:
    """The learning rate of a way: the one it is like has its own, the others try some on dev.

    Rates are tried on a seed that is not reported, upwards and downwards until the best lies
    between two others.
    """
    way = WAYS[name]
    if way.like:
        return rate_of(task, plan, way.like, steps)
    if not task.dev:
        return task.rates[0]
    record = recorded(task.name, name)
    tried: dict[str, float] = record.setdefault("dev_loss", {}).setdefault(str(steps), {})
    wanted = [way.rate]
    while wanted := [rate for rate in wanted if str(rate) not in tried]:
        for rate in wanted:
            tried[str(rate)] = loss_of(task, way, rate, steps, max(plan.seeds) + 1, dev=True)
        write(task.name, name, record)
        best = float(min(tried, key=lambda rate: tried[rate]))
        wanted = [best / 2, best * 2]
    return float(min(tried, key=lambda rate: tried[rate]))


def run(task: Task, plan: Plan, cell: Cell) -> float:
    """Train, and add the loss to the way's file."""
    rate, steps = rate_of(task, plan, cell.way, cell.steps), str(cell.steps)
    loss = loss_of(task, WAYS[cell.way], rate, cell.steps, cell.seed, dev=False)
    record = recorded(task.name, cell.way)
    record |= {"torch": torch.__version__, "transformers": transformers.__version__}
    record.setdefault("rate", {})[steps] = rate
    record.setdefault("loss", {}).setdefault(steps, {})[str(cell.seed)] = loss
    write(task.name, cell.way, record)
    return loss


def main() -> int:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=[*PLANS])
    parser.add_argument("--ways", nargs="+", default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[])
    parser.add_argument("--steps", nargs="+", type=int, default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.tasks:
        plan = PLANS[name]
        task = plan.task()
        for cell in cells(plan):
            chosen = (
                (not options.ways or cell.way in options.ways)
                and (not options.seeds or cell.seed in options.seeds)
                and (not options.steps or cell.steps in options.steps)
            )
            if not chosen or str(cell.seed) in losses(name, cell.way, cell.steps):
                continue
            loss = run(task, plan, cell)
            sys.stdout.write(f"{name} {cell.way} {cell.steps} {cell.seed}: {loss:.4f}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What answers behind prompts learn: the tokens that carry the loss, and a share of the others.

Every method of a task is a file under benchmarks/results/tokenseek-core/answers/<task>, with a loss
for each seed; `costs.json` beside them has the processor seconds of a step. What is there is not
run again, so a call that was cut off goes on where it stopped; name tasks, methods and seeds to run
some of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from answers_draws import DRAWS, loss_rows
from answers_tasks import MADE, REAL, TAILS, TASKS
from study_runs import (
    held_out_loss,
    model_loss,
    optimizer_of,
    supervised_head_loss,
    take_step,
    train,
)
from study_tasks import ROOT, Task

from tokenseek_core import TokenSeekConfig
from tokenseek_core.inspect import Method, using

RESULTS = ROOT / "benchmarks/results/tokenseek-core/answers"
SEEDS = (0, 1, 2)
DENSE, EQUAL_TIME, ANSWERS, FEWER = "dense", "dense-equal-time", "answers-10", "answers-5"
LOSS_ROWS, DEFAULT = "loss-rows", "default"
CHECKPOINTING, HEAD, COSTS = "checkpointing", "+head", "costs"
TIMED, TIMED_REAL = 5, 2
"""Steps of each method that are timed, of the small model and of SmolLM2."""

DRAWN_ON = ("copying", "shakespeare-12")
"""Tasks on which other draws of the prompt's tokens are compared."""

METHODS = {
    **dict.fromkeys(REAL, (DENSE, ANSWERS, EQUAL_TIME)),
    **dict.fromkeys(TAILS, (DENSE, ANSWERS, LOSS_ROWS, EQUAL_TIME, DEFAULT)),
    **dict.fromkeys(MADE, (DENSE, ANSWERS, FEWER, LOSS_ROWS)),
}


@dataclass(frozen=True)
class Cell:
    """One training.

    Args:
        task: One of TASKS.
        method: One of `methods_of`.
        seed: Decides the order of the instances and what is drawn.
    """

    task: str
    method: str
    seed: int


def cells() -> list[Cell]:
    """All trainings, in their order: one seed of everything first."""
    found = [Cell("gsm8k", method, 0) for method in METHODS["gsm8k"]]
    for seed in SEEDS:
        small = (*TAILS, *MADE)
        found += [Cell(task, method, seed) for task in small for method in METHODS[task]]
        if seed == 0:
            found += [Cell("boolq", method, 0) for method in METHODS["boolq"]]
        found += [
            Cell(task, method, seed)
            for task in DRAWN_ON
            for method in (FEWER, *DRAWS)
            if method not in METHODS[task]
        ]
    return found


def method_of(task: Task, name: str) -> Method:
    """The way to train that a name says.

    Those that keep as many tokens as others do, or exactly those that carry the loss, count them in
    a batch: where they are asked for, every batch has as many.
    """
    if name in (DENSE, EQUAL_TIME):
        return Method(name)
    if name in DRAWS:
        return Method(name, DRAWS[name])
    if name in (ANSWERS, FEWER):
        return Method(name, TokenSeekConfig.answers(0.1 if name == ANSWERS else 0.05))
    batch = task.batch(torch.Generator().manual_seed(0))
    length = batch["input_ids"].shape[1]
    supervised = int((batch["labels"][0, 1:] != -100).sum())
    if name == LOSS_ROWS:
        config = TokenSeekConfig(
            ratio=supervised / length, selector=loss_rows, gradient="restart", logits=False
        )
        return Method(name, config)
    kept = supervised + 0.1 * (length - supervised)
    return Method(name, TokenSeekConfig(ratio=kept / length))


def path_of(task: str, method: str) -> Path:
    """Where a method's losses lie, or a task's costs."""
    return RESULTS / task / f"{method}.json"


def recorded(task: str, method: str) -> dict[str, Any]:
    """What is on disk of a method; nothing where it did not run."""
    path = path_of(task, method)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(task: str, method: str, record: dict[str, Any]) -> None:
    """Write one method's file."""
    path = path_of(task, method)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def costs_of(task: Task) -> dict[str, Any]:
    """Processor seconds of a step, methods taking turns, and the loss before any training.

    Those with "head" compute the same loss with head and loss on the supervised tokens alone.
    """
    if before := recorded(task.name, COSTS):
        return before
    model = task.model().train()
    start = held_out_loss(model, task.test)
    optimizer, generator = optimizer_of(model, 0.0), torch.Generator().manual_seed(0)
    names = [n for n in METHODS[task.name] if n not in (EQUAL_TIME, LOSS_ROWS)]
    rivals = {name: method_of(task, name) for name in names}
    rivals |= {
        f"{name}{head}": Method(name, checkpointing=name == CHECKPOINTING)
        for name in (DENSE, CHECKPOINTING)
        for head in ("", HEAD)
    }
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(TIMED_REAL if task.name in REAL else TIMED):
        batch = task.batch(generator)
        for name, method in rivals.items():
            with using(model, method, check=False):
                begin = time.process_time()
                loss_of = supervised_head_loss if name.endswith(HEAD) else model_loss
                take_step(model, batch, optimizer, loss_of)
                seconds[name].append(time.process_time() - begin)
    record = {
        "start_loss": start,
        "cpu_seconds": {name: statistics.median(found) for name, found in seconds.items()},
    }
    write(task.name, COSTS, record)
    return record


def run(task: Task, cell: Cell) -> float:
    """Train, and add the seed's loss to the method's file."""
    steps, seconds = task.steps, costs_of(task)["cpu_seconds"]
    if cell.method == EQUAL_TIME:
        steps = round(steps * seconds[ANSWERS] / seconds[DENSE])
    (rate,) = task.rates
    method = method_of(task, cell.method)
    found = train(task, method, rate=rate, seed=cell.seed, stops=[steps], decay=True)
    record = recorded(task.name, cell.method) or {
        "steps": steps,
        "rate": rate,
        "loss": {},
        "cpu_seconds": {},
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    record["loss"][str(cell.seed)] = found.losses[steps]
    record["cpu_seconds"][str(cell.seed)] = round(found.cpu_seconds, 2)
    write(task.name, cell.method, record)
    return found.losses[steps]


def main() -> int:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=[*TASKS])
    parser.add_argument("--methods", nargs="+", default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    loaded: dict[str, Task] = {}
    for cell in cells():
        named = cell.task in options.tasks and cell.seed in options.seeds
        chosen = named and (not options.methods or cell.method in options.methods)
        if not chosen or str(cell.seed) in recorded(cell.task, cell.method).get("loss", {}):
            continue
        if cell.task not in loaded:
            loaded = {cell.task: TASKS[cell.task]()}  # one at a time: some hold a large model
        loss = run(loaded[cell.task], cell)
        sys.stdout.write(f"{cell.task} {cell.method} {cell.seed}: {loss:.3f}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

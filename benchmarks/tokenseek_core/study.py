"""Which selector and which gradient learn best: held-out loss at equal steps and at equal time.

For each task, every method takes its learning rate from a grid, chosen on a dev set, and runs with
three seeds. A method's steps at equal time are those that its measured time per step allows in the
time of the dense run. Each method is a file under benchmarks/results/tokenseek-core/study/<task>;
what is there is not run again, so a run that was cut off goes on where it stopped, and
`--part 1/2` and `--part 2/2` share the work of one task between two processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any, get_args

import torch
import transformers
from study_runs import cosine, gradient, train
from study_tasks import ROOT, TASKS, Task

from tokenseek_core import TokenSeekConfig
from tokenseek_core._config import SelectorName
from tokenseek_core.inspect import Method, compare_steps

RESULTS = ROOT / "benchmarks/results/tokenseek-core/study"
SEEDS = (0, 1, 2)
RATIOS = (0.1, 0.3)
DENSE, CHECKPOINTING = "dense", "checkpointing"


def name(ratio: float, kind: str, selector: str) -> str:
    """How files and tables call a combination."""
    return f"r{round(100 * ratio)}-{kind}-{selector}"


def combination(ratio: float, kind: str, selector: str) -> Method:
    """One way to train a part of the tokens."""
    config = TokenSeekConfig(ratio=ratio, gradient=kind, selector=selector)  # type: ignore[arg-type]
    return Method(name(ratio, kind, selector), config)


COMBINATIONS = [
    combination(ratio, kind, selector)
    for ratio in RATIOS
    for kind in ("restart", "inject")
    for selector in get_args(SelectorName)
]
PAPER = name(0.1, "restart", "tokenseek")
BEST = 5


def methods_of(task: str) -> list[Method]:
    """All combinations for the small model; for the large one dense, the best five, the paper's."""
    if task == "shakespeare":
        return [Method(DENSE), *COMBINATIONS]
    done = recorded("shakespeare")
    small = [c for c in COMBINATIONS if c.name in done and c.name.startswith("r10-")]
    small.sort(key=lambda c: mean(done[c.name]["equal_steps"]))
    chosen = small[:BEST] + [c for c in small[BEST:] if c.name == PAPER]
    return [Method(DENSE), *chosen]


def mean(losses: dict[str, float]) -> float:
    """Mean over the seeds."""
    return statistics.mean(losses.values())


def recorded(task: str) -> dict[str, Any]:
    """The methods of a task that are on disk, by name."""
    files = sorted((RESULTS / task).glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def write(task: str, method: str, record: dict[str, Any]) -> None:
    """Write one method's file."""
    folder = RESULTS / task
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{method}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def measure_times(task: Task, methods: Sequence[Method]) -> dict[str, float]:
    """Processor seconds of a step of each method, taking turns, as shares of the dense step."""
    batch = task.batch(torch.Generator().manual_seed(0))
    rivals = [*methods, Method(CHECKPOINTING, checkpointing=True)]
    costs = list(compare_steps(task.model().train(), batch, rivals, repeats=3))
    return {cost.method: cost.cpu_seconds / costs[0].cpu_seconds for cost in costs}


def recorded_times(task: Task, methods: Sequence[Method]) -> dict[str, float]:
    """Times from disk; those of methods that are not there are measured, beside dense again."""
    path = RESULTS / f"{task.name}-times.json"
    shares = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    missing = [method for method in methods if method.name not in shares]
    if missing:
        measured = measure_times(task, [Method(DENSE), *(m for m in missing if m.name != DENSE)])
        shares = measured | shares
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(shares, indent=2) + "\n", encoding="utf-8")
    return shares


def choose_rate(task: Task, method: Method, tried: dict[float, float]) -> float:
    """Try rates on dev until the best is not the lowest or highest of them, and give it."""
    wanted = list(task.rates)
    while wanted:
        for rate in set(wanted) - tried.keys():
            run = train(task, method, rate=rate, seed=0, stops=[task.steps], dev=True)
            tried[rate] = run.losses[task.steps]
        best = min(tried, key=lambda rate: tried[rate])
        wanted = [best / 2] * (best == min(tried)) + [best * 2] * (best == max(tried))
    return best


def run(task: Task, method: Method, shares: dict[str, float], before: Any) -> dict[str, Any]:
    """Choose the learning rate on dev, then run all seeds, unless they ran at that rate before."""
    tried = {float(rate): loss for rate, loss in (before or {}).get("dev_loss", {}).items()}
    rate = choose_rate(task, method, tried)
    at_equal_time = max(1, round(task.steps / shares[method.name]))
    stops = {"equal_steps": task.steps, "equal_time": at_equal_time}
    if method.name == DENSE:  # checkpointing takes the same steps, only more slowly
        stops[CHECKPOINTING] = round(task.steps / shares[CHECKPOINTING])
    record = {
        "dev_loss": {str(tried_rate): tried[tried_rate] for tried_rate in sorted(tried)},
        "rate": rate,
        "steps": stops,
        "time_share": shares[method.name],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if before and before["rate"] == rate:
        return record | {stop: before[stop] for stop in stops}
    runs = {
        seed: train(task, method, rate=rate, seed=seed, stops=set(stops.values())).losses
        for seed in SEEDS
    }
    losses = {stop: {str(seed): runs[seed][step] for seed in SEEDS} for stop, step in stops.items()}
    return record | losses


def settled(record: dict[str, Any]) -> bool:
    """Whether the chosen rate lies between others that were tried."""
    tried = sorted(float(rate) for rate in record.get("dev_loss", {}))
    return bool(tried) and tried[0] < record["rate"] < tried[-1]


def complete(task: Task, record: dict[str, Any]) -> bool:
    """Whether the whole grid was tried and the best of it is no end of what was tried."""
    return settled(record) and {str(rate) for rate in task.rates} <= record["dev_loss"].keys()


def run_task(task_name: str, only: Sequence[str], part: int, parts: int) -> None:
    """Run what is missing of one task."""
    task = TASKS[task_name]()
    methods = [c for c in COMBINATIONS if c.name in only] if only else methods_of(task_name)
    shares = recorded_times(task, methods)
    for index, method in enumerate(methods):
        before = recorded(task_name).get(method.name)
        if index % parts != part or (before and complete(task, before)):
            continue
        record = run(task, method, shares, before)
        write(task_name, method.name, record)
        sys.stdout.write(f"{task_name} {method.name}: {record['equal_steps']}\n")
        sys.stdout.flush()


def measure_cosines(instances: int) -> None:
    """Cosine of each combination's gradient with the dense one, before any training."""
    path = RESULTS / "cosines.json"
    if path.exists():
        return
    task = TASKS["gsm8k"]()
    model = task.model().train()
    last = f".{model.config.num_hidden_layers - 1}."
    names = [parameter for parameter, _ in model.named_parameters()]
    every = list(range(len(names)))
    below = [i for i in every if ".layers." in names[i] and f".layers{last}" not in names[i]]
    found: dict[str, list[tuple[float, float]]] = {c.name: [] for c in COMBINATIONS}
    generator = torch.Generator().manual_seed(0)
    for _ in range(instances):
        batch = {key: value[:1] for key, value in task.batch(generator).items()}
        length = int(batch["attention_mask"].sum())
        batch = {key: value[:, :length] for key, value in batch.items()}
        dense = gradient(model, batch, None)
        for c in COMBINATIONS:
            ours = gradient(model, batch, c.config)
            found[c.name].append((cosine(ours, dense, every), cosine(ours, dense, below)))
    record = {
        c: {"all": [a for a, _ in pairs], "blocks_but_last": [b for _, b in pairs]}
        for c, pairs in found.items()
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=[*TASKS, "cosines"])
    parser.add_argument("--part", default="1/1", help="which share of a task's methods to run")
    parser.add_argument("--only", nargs="+", default=[], help="these methods, whatever ranks best")
    arguments = parser.parse_args()
    part, parts = (int(number) for number in arguments.part.split("/"))
    torch.set_num_threads(1)
    for task in arguments.tasks:
        if task == "cosines":
            measure_cosines(instances=4)
        else:
            run_task(task, arguments.only, part - 1, parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())

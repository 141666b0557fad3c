"""The section of docs/study.md on what lm-evaluation-harness says, from its records."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from evaluation_tasks import EVALUATIONS

from evaluation import SEEDS, WAYS, chosen_rate, read, record_of, untouched_of

NAMES = {
    "copa": "COPA, right, %",
    "rte": "RTE, right, %",
    "wikitext2": "wikitext2, word perplexity",
    "boolq": "BoolQ, right, %",
}


def evaluated(task: str) -> dict[str, list[dict[str, Any]]]:
    """The scored runs of each way, at the rate that it took."""
    return {
        way: [read(record_of(task, way, chosen_rate(task, way), seed)) for seed in SEEDS]
        for way in WAYS
    }


def figure(values: Sequence[float], digits: int) -> str:
    """Mean and spread over the seeds."""
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def rows(task: str) -> list[str]:
    """A task's lines: the model before, after dense steps, and after those of TokenSeek."""
    metric, runs, begun = EVALUATIONS[task].metric, evaluated(task), read(untouched_of(task))
    unit = 100 if metric == "acc" else 1
    digits = 1 if metric == "acc" else 2
    loss = runs["dense"][0]["dev_loss_before"]
    lines = [
        f"| {NAMES[task]}, of {begun['documents']} | untouched | | | "
        f"{unit * begun[metric]:.{digits}f} | {loss:.3f} | |"
    ]
    dense = sum(run["cpu_seconds"] for run in runs["dense"])
    for way, label in zip(WAYS, ("dense", "TokenSeek"), strict=True):
        found = runs[way]
        scores = [unit * run[metric] for run in found]
        kept = statistics.mean(run["kept_share"] for run in found)
        time = sum(run["cpu_seconds"] for run in found) / dense
        lines.append(
            f"| | {label} | {found[0]['rate']:g} | {kept:.0%} | {figure(scores, digits)} | "
            f"{figure([run['dev_loss'] for run in found], 3)} | {time:.0%} |"
        )
    return lines


def evaluation() -> str:
    """The section between its marks."""
    lines = [
        "| task | SmolLM2-135M | learning rate | kept | score | dev loss | time of a run |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [line for task in EVALUATIONS for line in rows(task)])

"""The page of the study of mixtures, made from its files: tables, intervals, and the aims.

Shapes: `r` resamples, `c` pairs of task and seed.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

import torch
from comparison_intervals import LEVEL, RESAMPLES
from comparison_methods import HEAD_RATE
from comparison_tasks import MIXED, ROOT
from mixture_methods import METHODS
from mixture_plan import (
    FAST,
    FAST_HEAD,
    MIXTURE,
    SHOTS,
    STREAM,
    Record,
    chosen_rate,
    facts,
    few_shot,
    records,
)
from mixture_run import FEW_SHOT
from routing_report import between_marks, points, table

PAGE = ROOT / "docs/mixture.md"

OURS, ALONE = "mept", "probe"
MARGIN = 5.0
"""By how many points the mixture is to be ahead of other prompts and of LoRA of its active size."""

ERRORS = 3.0
"""Standard errors by which a task must be above its commonest label with one method at least."""

ROWS = (
    (ALONE, HEAD_RATE),
    *((method, FAST_HEAD) for method in FAST),
    *((method, HEAD_RATE) for method in MIXTURE if method != ALONE),
)
"""Methods of the mixture and their heads' rates, as they are shown; of a head alone its own is."""

Runs = dict[int, Record]
"""Runs of one method by seed."""


def runs_of(group: str, method: str, head_rate: float = HEAD_RATE) -> Runs:
    """The runs of a method in a group, at the rate that is reported."""
    wanted = (method, chosen_rate(group, method, head_rate), head_rate)
    return {
        run["seed"]: run
        for run in records(group).values()
        if (run["method"], run["rate"], run["head_rate"]) == wanted
    }


def learnt_tasks() -> list[str]:
    """The tasks of the mixture that some method learns: the others leave the mean."""
    learnt = []
    for task, fact in facts().items():
        share = fact["majority"]
        error = (share * (1 - share) / fact["samples"]) ** 0.5
        best = max(
            statistics.fmean(run["accuracy"][task] for run in runs.values())
            for row in ROWS
            if (runs := runs_of("mixture", *row))
        )
        if best > share + ERRORS * error:
            learnt.append(task)
    return learnt


def mean_test(run: Record, tasks: list[str]) -> float:
    """The score of a run over some tasks."""
    return statistics.fmean(run["test"][task] for task in tasks)


def difference(ours: Runs, theirs: Runs, tasks: list[str]) -> tuple[float, float, float]:
    """By how many points our mean is higher over the seeds that both have, with its interval.

    What is drawn anew are pairs of a task and a seed.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    found = torch.tensor(
        [100 * (ours[s]["test"][t] - theirs[s]["test"][t]) for s in seeds for t in tasks]
    )
    return with_interval(found)


def with_interval(found: torch.Tensor) -> tuple[float, float, float]:
    """The mean of some differences and the ends of its interval by the bootstrap."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(found), (RESAMPLES, len(found)), generator=generator)
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=found.dtype)
    low, high = found[drawn].mean(1).quantile(ends)  # of [r, c]
    return float(found.mean()), float(low), float(high)


def slow_head(method: str, head_rate: float) -> str:
    """What tells a row from that of the same method with a fast head."""
    return ", slow head" if head_rate == HEAD_RATE and method != ALONE else ""


def mixture_table() -> str:
    """All methods on all tasks at once."""
    learnt = learnt_tasks()
    head = ["method", "stored", "active", "rate", "seeds", "mean", "MEPT is ahead by", *MIXED]
    lines = []
    for method, head_rate in ROWS:
        runs = runs_of("mixture", method, head_rate)
        if not runs:
            continue
        one = next(iter(runs.values()))
        ahead = ""
        if method != OURS:
            ours = runs_of("mixture", OURS, FAST_HEAD if method == ALONE else head_rate)
            found, low, high = difference(ours, runs, learnt)
            ahead = f"{found:.1f} ({low:.1f} to {high:.1f})"
        by_task = (
            f"{100 * statistics.fmean(run['test'][task] for run in runs.values()):.0f}"
            for task in MIXED
        )
        lines.append(
            [
                METHODS[method].label + slow_head(method, head_rate),
                f"{one['stored']:,}",
                f"{one['active']:,}",
                f"{one['rate']:g}",
                len(runs),
                points(mean_test(run, learnt) for run in runs.values()),
                ahead,
                *by_task,
            ]
        )
    majority = [f"{100 * fact['majority']:.0f}" for fact in facts().values()]
    lines.append(["*commonest label, accuracy*", "", "", "", "", "", "", *majority])
    told = (
        f"The mean is over {', '.join(learnt)}; on {', '.join(t for t in MIXED if t not in learnt)}"
        f" no method is more than {ERRORS:g} standard errors above the commonest label."
    )
    return f"{table(head, lines)}\n\n{told}"


def routing_line() -> str:
    """What the routers of the mixture do."""
    runs = runs_of("mixture", OURS, FAST_HEAD).values()
    used = [count for run in runs for count in run["in_use"]]
    told = [value for run in runs for value in run["nats"]]
    return (
        f"Routers of MEPT: {min(used)} to {max(used)} of 8 experts in use in a layer, which tell "
        f"{min(told):.2f} to {max(told):.2f} nats of the task."
    )


def average_accuracy(run: Record) -> float:
    """The mean score over tasks after the last of them."""
    return statistics.fmean(run["matrix"][-1].values())


def learning_accuracy(run: Record) -> float:
    """The mean score of tasks right after each was learnt."""
    return statistics.fmean(
        scores[task] for scores, task in zip(run["matrix"], run["order"], strict=True)
    )


def backward_transfer(run: Record) -> float:
    """By how much tasks but the last score more in the end than right after they were learnt.

    Source: Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning" (2017).
    """
    last = run["matrix"][-1]
    pairs = list(zip(run["matrix"], run["order"], strict=True))[:-1]
    return statistics.fmean(last[task] - scores[task] for scores, task in pairs)


def stream_table() -> str:
    """All methods on tasks one after the other."""
    head = ["method", "stored", "active", "seeds", "average accuracy", "MEPT is ahead by"]
    head += ["backward transfer", "right after learning"]
    ours, lines = runs_of("stream", OURS), []
    for method in STREAM:
        runs = runs_of("stream", method)
        if not runs:
            continue
        one = next(iter(runs.values()))
        ahead = ""
        if method != OURS:
            pairs = [(ours[s]["matrix"][-1], runs[s]["matrix"][-1]) for s in ours.keys() & runs]
            gaps = [100 * (a[task] - b[task]) for a, b in pairs for task in sorted(a)]
            found, low, high = with_interval(torch.tensor(gaps))
            ahead = f"{found:.1f} ({low:.1f} to {high:.1f})"
        lines.append(
            [
                METHODS[method].label,
                f"{one['stored']:,}",
                f"{one['active']:,}",
                len(runs),
                points(average_accuracy(run) for run in runs.values()),
                ahead,
                points(backward_transfer(run) for run in runs.values()),
                points(learning_accuracy(run) for run in runs.values()),
            ]
        )
    return table(head, lines)


def matrix_table(method: str, seed: int = 0) -> str:
    """The scores of all tasks after each, of one run."""
    run = runs_of("stream", method)[seed]
    lines = [
        [task, *(f"{100 * scores[other]:.0f}" for other in run["order"])]
        for task, scores in zip(run["order"], run["matrix"], strict=True)
    ]
    return table([f"{METHODS[method].label}: after", *run["order"]], lines)


def few_table() -> str:
    """All methods on few samples of a class."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for run in records("few-shot").values():
        found.setdefault((run["method"], run["kind"], run["shots"]), []).append(run["test_score"])
    head = ["method", "seeds"]
    head += [f"{task}, {shots}" for task in FEW_SHOT for shots in SHOTS]
    lines: list[list[Any]] = []
    for method in dict.fromkeys(cell.method for cell in few_shot(0)):
        own = {key[1:]: values for key, values in found.items() if key[0] == method}
        if not own:
            continue
        counts = sorted({len(values) for values in own.values()})
        cells = [
            points(own[task, shots]) if (task, shots) in own else ""
            for task in FEW_SHOT
            for shots in SHOTS
        ]
        lines.append([METHODS[method].label, " to ".join(map(str, counts)), *cells])
    return table(head, lines)


def aims() -> list[str]:
    """Whether the aims were reached, with the numbers."""
    learnt, ours = learnt_tasks(), runs_of("mixture", OURS, FAST_HEAD)
    tuning_pays = difference(ours, runs_of("mixture", ALONE), learnt)[0] > 0
    lines = []
    for method in (*FAST[1:], ALONE):
        runs = runs_of("mixture", method, HEAD_RATE if method == ALONE else FAST_HEAD)
        if not runs:
            continue
        least = MARGIN if method not in ("lora-stored", ALONE) else 0.0
        found, low, high = difference(ours, runs, learnt)
        verdict = "reached" if found >= least and low > 0 else "missed"
        if verdict == "reached" and not tuning_pays:
            verdict = "not shown, being no better than the head alone"
        elif verdict == "reached" and len(ours.keys() & runs) == 1:
            verdict = "reached by one seed, which is not enough"
        lines.append(
            f"- Mixture, {least:g} points or more above {METHODS[method].label}, interval without "
            f"0: **{verdict}**, {found:+.1f} ({low:.1f} to {high:.1f}), seeds in common: "
            f"{len(ours.keys() & runs)}."
        )
    return lines + stream_aims()


def stream_aims() -> list[str]:
    """The same of the stream."""
    ours, lines = runs_of("stream", OURS), []
    for method in ("deep-active", "lora-active"):
        runs = runs_of("stream", method)
        seeds = ours.keys() & runs.keys()
        if not seeds:
            continue
        gaps = [100 * (average_accuracy(ours[s]) - average_accuracy(runs[s])) for s in seeds]
        found = statistics.fmean(gaps)
        lines.append(
            f"- Stream, {MARGIN:g} points or more above {METHODS[method].label}: "
            f"**{'reached' if found >= MARGIN else 'missed'}**, {found:+.1f}, seeds in common: "
            f"{len(seeds)}."
        )
    return lines


def results() -> str:
    """All tables."""
    parts = ["### All tasks at once", mixture_table(), routing_line()]
    parts += ["### One task after the other", stream_table()]
    parts += [matrix_table(m) for m in (OURS, "lora-active") if 0 in runs_of("stream", m)]
    if records("few-shot"):
        parts += ["### Few samples of a class", few_table()]
    parts += ["### Aims", "\n".join(aims())]
    return "\n\n".join(parts)


def with_results(text: str) -> str:
    """The page with its tables."""
    return between_marks(text, results())


def main() -> None:
    """Write the page."""
    PAGE.write_text(with_results(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write("\n".join(aims()) + "\n")


if __name__ == "__main__":
    main()

"""The part of docs/study.md about answers behind prompts: tables and a picture of the records."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from answers import (
    ANSWERS,
    CHECKPOINTING,
    COSTS,
    DEFAULT,
    DENSE,
    DRAWN_ON,
    EQUAL_TIME,
    FEWER,
    HEAD,
    LOSS_ROWS,
    METHODS,
    recorded,
)
from answers_tasks import MADE, REAL, TAILS

PICTURE = Path(__file__).parents[2] / "docs/figures/answers.png"
LABELS = {
    DENSE: "dense",
    ANSWERS: "all that carry the loss, a tenth of the others",
    FEWER: "all that carry the loss, a twentieth of the others",
    LOSS_ROWS: "all that carry the loss, no others",
    EQUAL_TIME: "dense, at the time of all and a tenth",
    DEFAULT: "default, as many tokens as all and a tenth",
}
DRAWN = {
    "answers": "uniform",
    "stratified": "evenly over the positions",
    "gradient": "the highest gradients",
    "sampled": "by gradient",
    "sampled-inject": "by gradient, injected",
}

Losses = Mapping[str, float]


def losses(task: str, method: str) -> Losses:
    """Held-out losses by seed."""
    found: Losses = recorded(task, method).get("loss", {})
    return found


def figure(values: Iterable[float]) -> str:
    """Mean and standard deviation over the seeds; of one seed, the figure."""
    known = list(values)
    if len(known) < 2:
        return f"{known[0]:.3f}" if known else ""
    return f"{statistics.mean(known):.3f} ± {statistics.stdev(known):.3f}"


def behind_dense(task: str, method: str) -> list[float]:
    """By how much the losses are above dense's, seed by seed."""
    dense = losses(task, DENSE)
    return [loss - dense[seed] for seed, loss in losses(task, method).items() if seed in dense]


def share_of_gain(task: str, method: str) -> str:
    """Of what dense training takes off the loss before it, what a method does on the same seeds."""
    start, dense = recorded(task, COSTS)["start_loss"], losses(task, DENSE)
    ours = {seed: loss for seed, loss in losses(task, method).items() if seed in dense}
    mean = statistics.mean(dense[seed] for seed in ours)
    return f"{(start - statistics.mean(ours.values())) / (start - mean):.2f}"


def time_of(task: str, method: str) -> str:
    """Processor time of a training, as a share of the dense one's."""
    seconds = recorded(task, COSTS)["cpu_seconds"]
    steps = recorded(task, method)["steps"] / recorded(task, DENSE)["steps"]
    known = seconds.get(DENSE if method == EQUAL_TIME else method)
    return "" if known is None else f"{steps * known / seconds[DENSE]:.0%}"


def learned(task: str, title: str) -> list[Sequence[str]]:
    """Rows of a task: each method's steps, loss and time."""
    return [
        (
            title,
            LABELS[method],
            str(recorded(task, method)["steps"]),
            figure(losses(task, method).values()),
            "" if method == DENSE else figure(behind_dense(task, method)),
            share_of_gain(task, method),
            time_of(task, method),
        )
        for method in METHODS[task]
        if losses(task, DENSE) and losses(task, method)
    ]


HEADS = (
    *("supervised", "kept", "steps", "loss", "above dense, seed by seed", "share of its gain"),
    "CPU time",
)


def shakespeare() -> str:
    """What is learnt where the last part of each instance is supervised."""
    rows = [row for task in TAILS for row in learned(task, f"last {task.split('-')[1]} %")]
    return table(HEADS, rows)


def real() -> str:
    """SmolLM2 by LoRA."""
    titles = {"gsm8k": "GSM8K, two worked examples in front", "boolq": "BoolQ, a passage in front"}
    return table(
        ("task", *HEADS[1:]), [row for task in REAL for row in learned(task, titles[task])]
    )


def made() -> str:
    """Tasks that cannot be solved without reading the prompt."""
    methods = (DENSE, ANSWERS, FEWER, LOSS_ROWS)
    rows = [
        (
            task,
            str(recorded(task, DENSE)["steps"]),
            f"{recorded(task, COSTS)['start_loss']:.3f}",
            *(figure(losses(task, method).values()) for method in methods),
        )
        for task in MADE
        if losses(task, DENSE)
    ]
    heads = ("task", "steps", "before", "dense", "all and a tenth", "all and a twentieth", "all")
    return table(heads, rows)


def draws() -> str:
    """Other ways to draw from the prompt."""
    columns = [(task, percent) for percent in (5, 10) for task in DRAWN_ON]
    columns = [column for column in columns if losses(column[0], f"stratified-{column[1]}")]
    rows = [
        (label, *(figure(losses(task, f"{name}-{percent}").values()) for task, percent in columns))
        for name, label in DRAWN.items()
    ]
    heads = [f"{task}, {percent} %" for task, percent in columns]
    return table(("the others are drawn", *heads), rows) if columns else ""


def costs() -> str:
    """A step of each rival, as a share of the dense one."""
    rivals = {
        ANSWERS: "all and a tenth",
        FEWER: "all and a twentieth",
        DEFAULT: "default",
        f"{DENSE}{HEAD}": "dense, head on supervised tokens",
        CHECKPOINTING: "checkpointing",
        f"{CHECKPOINTING}{HEAD}": "checkpointing, head on supervised tokens",
    }
    rows = []
    for task in (*TAILS, *MADE, *REAL):
        seconds: dict[str, Any] = recorded(task, COSTS).get("cpu_seconds", {})
        shares = (
            f"{seconds[rival] / seconds[DENSE]:.0%}" if rival in seconds else "" for rival in rivals
        )
        if seconds:
            rows.append((task, f"{seconds[DENSE]:.2f}", *shares))
    return table(("task", "dense, CPU seconds", *rivals.values()), rows)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; nothing without rows."""
    known = list(rows)
    lines = [f"| {' | '.join(line)} |" for line in (heads, *known)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]]) if known else ""


def answers() -> str:
    """All tables of the records, those of which something is recorded."""
    parts = {
        "Shakespeare, the last part supervised": shakespeare(),
        "Tasks that need the prompt": made(),
        "Which others": draws(),
        "SmolLM2-135M by LoRA": real(),
        "A step": costs(),
    }
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in parts.items() if text)


def draw() -> None:
    """The picture: how far from dense each method ends, by the supervised share."""
    from matplotlib import pyplot

    figure_, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    for shift, method in enumerate((ANSWERS, LOSS_ROWS, DEFAULT, EQUAL_TIME)):
        known = [(task, behind_dense(task, method)) for task in TAILS]
        known = [(task, values) for task, values in known if values]
        axes.errorbar(
            [list(TAILS).index(task) + 0.08 * (shift - 1.5) for task, _ in known],
            [statistics.mean(values) for _, values in known],
            [statistics.stdev(values) if len(values) > 1 else 0 for _, values in known],
            marker="o",
            capsize=3,
            label=LABELS[method],
        )
    axes.axhline(0, color="0.6", linewidth=1)
    axes.set_xticks(range(len(TAILS)), [f"{task.split('-')[1]} %" for task in TAILS])
    axes.set_xlim(-0.5, len(TAILS) - 0.5)
    axes.set_xlabel("supervised: the last part of each instance")
    axes.set_ylabel("held-out loss above dense's")
    axes.legend(fontsize=8)
    figure_.savefig(PICTURE, dpi=120)
    pyplot.close(figure_)

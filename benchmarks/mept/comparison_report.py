"""The page of the comparison, made from its files: tables, intervals, front and aims."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable
from typing import Any

from comparison_costs import Cost, recorded_costs
from comparison_intervals import Answered, difference
from comparison_methods import Method, Shape
from comparison_models import SETTINGS, Setting
from comparison_plan import SEEDS, Plan, Record, record_of
from comparison_starts import STARTS, recorded_starts
from comparison_tasks import ROOT

from tokenseek_common.data import TASKS

PAGE = ROOT / "docs/comparison.md"
FRONT = PAGE.parent / "figures/routed-prompts.png"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

OURS, BASELINE = "mept", "deep"
MARGIN = 0.0194
"""By how much the paper's mean score is above every prompt method's."""

FEWER = 0.7925
"""The paper's share of activated prompts that is saved."""


def records(plan: Plan, method: str) -> dict[str, list[Record]]:
    """The reported runs of a method, by task, a seed each."""
    by_task: dict[str, list[Record]] = {task: [] for task in plan.setting.tasks}
    for seed in SEEDS:
        for cell in plan.chosen_cells(method, seed):
            found = record_of(cell)
            if found is not None:
                by_task[cell.task].append(found)
    return by_task


def complete(plan: Plan) -> list[str]:
    """The methods all of whose seeds are recorded."""
    return [
        method
        for method in plan.setting.methods
        if all(len(found) == len(SEEDS) for found in records(plan, method).values())
    ]


def mean_score(runs: dict[str, list[Record]]) -> float:
    """Averaged over tasks and seeds."""
    return statistics.fmean(
        statistics.fmean(run["test"]["score"] for run in found) for found in runs.values()
    )


def answered(runs: dict[str, list[Record]]) -> dict[str, Answered]:
    """What was chosen, for the bootstrap."""
    return {
        task: Answered(
            [run["choices"] for run in found], found[0]["answers"], TASKS[task].metrics == "cb"
        )
        for task, found in runs.items()
    }


def figure(scores: Iterable[float]) -> str:
    """Mean and standard deviation, in points."""
    found = [100 * score for score in scores]
    return f"{statistics.fmean(found):.1f} ± {statistics.stdev(found):.1f}"


def shaped(method: Method, shape: Shape | None) -> str:
    """A method and its sizes, as tables print them."""
    names = {"rows": "P", "experts": "E", "top_k": "k", "rank": "r"}
    names |= {"balance": "balancing", "router": "router slower by", "init": "init"}
    sized = ", ".join(f"{names[key]} = {value}" for key, value in (shape or {}).items())
    return f"{method.label}, {sized}" if sized else method.label


def row(cells: Iterable[Any]) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def scores_table(plan: Plan) -> str:
    """Scores by task, and by how much the mean of MEPT is higher."""
    tasks = plan.setting.tasks
    head = ["method", "rate", *tasks, "mean", "MEPT is higher by"]
    lines = [row(head), row(["---"] * len(head))]
    ours = records(plan, OURS)
    for method in sorted(complete(plan), key=lambda name: -mean_score(records(plan, name))):
        runs = records(plan, method)
        by_task = [figure(run["test"]["score"] for run in runs[task]) for task in tasks]
        lines.append(
            row(
                [
                    shaped(plan.setting.methods[method], plan.shape(method)),
                    f"{plan.rate(method):g}",
                    *by_task,
                    f"{100 * mean_score(runs):.1f}",
                    "" if method == OURS else interval(ours, runs),
                ]
            )
        )
    return "\n".join(lines)


def interval(ours: dict[str, list[Record]], theirs: dict[str, list[Record]]) -> str:
    """A difference in points, and its interval."""
    found, low, high = (100 * value for value in difference(answered(ours), answered(theirs)))
    return f"{found:+.1f} [{low:+.1f}, {high:+.1f}]"


def sizes_table(plan: Plan) -> str:
    """What a method stores, what of it works on an input, and what a training step costs."""
    head = ["method", "stored", "active", "rows a layer", "saved for backward", "time of a step"]
    lines = [row(head), row(["---"] * len(head))]
    costs = recorded_costs(plan.setting.name)
    for method in complete(plan):
        record = records(plan, method)[next(iter(plan.setting.tasks))][0]
        cost = costs.get(method)
        lines.append(
            row(
                [
                    shaped(plan.setting.methods[method], plan.shape(method)),
                    *(f"{record[key]:,}" for key in ("stored", "active", "rows")),
                    *cost_cells(cost, costs.get(OURS)),
                ]
            )
        )
    return "\n".join(lines)


def cost_cells(cost: Cost | None, ours: Cost | None) -> list[str]:
    """Memory, and time as a share of that of MEPT."""
    if cost is None or ours is None:
        return ["-", "-"]
    return [f"{cost.saved_bytes / 2**20:.1f} MiB", f"{cost.seconds / ours.seconds:.0%}"]


def shapes_table(plan: Plan) -> str:
    """The shapes that were tried with seed 0: dev, which chose, and test."""
    head = ["shape", "active", "dev", "test", "chosen"]
    lines = [row(head), row(["---"] * len(head))]
    for point in front(plan):
        mark = "yes" if point["shape"] == plan.shape(point["method"]) else ""
        name = shaped(plan.setting.methods[point["method"]], point["shape"])
        figures = (f"{100 * point[part]:.1f}" for part in ("dev", "test"))
        lines.append(row([name, f"{point['active']:,}", *figures, mark]))
    return "\n".join(lines)


def experts_table(plan: Plan) -> str:
    """The experts in use in each layer of the chosen mixture, where they were counted."""
    lines = [row(["task", "seed", "experts in use by layer"]), row(["---"] * 3)]
    for task, runs in records(plan, OURS).items():
        for run in runs:
            if run.get("experts_used"):
                lines.append(row([task, run["seed"], " ".join(map(str, run["experts_used"]))]))
    return "\n".join(lines)


def tried_table(plan: Plan) -> str:
    """What was tried besides, on the tasks that rates are chosen on."""
    tasks = plan.setting.rate_tasks
    head = ["tried, seed 0", "rate", *(f"{t}: dev, test, experts in use by layer" for t in tasks)]
    lines = [row(head), row(["---"] * len(head))]
    for method, shape, rate in plan.setting.tried:
        found = [record_of(cell) for cell in plan.tried_cells(method, shape, rate)]
        shown = ["-" if record is None else tried(record) for record in found]
        lines.append(row([shaped(plan.setting.methods[method], shape), f"{rate:g}", *shown]))
    return "\n".join(lines)


def tried(record: Record) -> str:
    """The scores of a run, and its experts in use if it has experts."""
    scores = f"{100 * record['dev_score']:.1f}, {100 * record['test']['score']:.1f}"
    used = record["experts_used"]
    return f"{scores}, {' '.join(map(str, used))}" if used else scores


def starts_table() -> str:
    """What prompts do to a decoder before anything is learnt."""
    head = ["prompts start", "loss of a token", "attention on prompts", "attention on first token"]
    lines = [row(head), row(["---"] * len(head))]
    for name, starts in recorded_starts().items():
        losses = ", ".join(f"{start.loss:.2f}" for start in starts)
        shares = (
            f"{statistics.fmean(getattr(start, field) for start in starts):.0%}"
            for field in ("on_prompts", "on_first_token")
        )
        lines.append(row([name, losses, *shares]))
    return "\n".join(lines)


def front(plan: Plan) -> list[dict[str, Any]]:
    """Mean scores of all shapes of the prompt methods with seed 0, and their active numbers."""
    points: list[dict[str, Any]] = []
    for name, method in plan.setting.methods.items():
        if not method.prompts or plan.rate(name) is None:
            continue
        for shape in plan.shapes(name) or ():
            cells = [cell for cell in plan.shape_cells(name) if cell.shape == shape]
            found = [record for cell in cells if (record := record_of(cell)) is not None]
            if len(found) == len(plan.setting.tasks):
                dev = statistics.fmean(record["dev_score"] for record in found)
                test = statistics.fmean(record["test"]["score"] for record in found)
                active = found[0]["active"]
                points.append(
                    {"method": name, "shape": shape, "active": active, "dev": dev, "test": test}
                )
    return points


def aims(plan: Plan) -> list[str]:
    """Whether the two figures of the paper were reached, with the numbers."""
    runs = {method: records(plan, method) for method in complete(plan)}
    prompts = [m for m in runs if plan.setting.methods[m].prompts and m != OURS]
    if OURS not in runs or not prompts:
        return []
    best = max(prompts, key=lambda method: mean_score(runs[method]))
    margin = mean_score(runs[OURS]) - mean_score(runs[best])
    verdict = "reached" if margin >= MARGIN else "missed"
    label = shaped(plan.setting.methods[best], plan.shape(best))
    lines = [
        f"- Mean score above every prompt method by {100 * MARGIN:.2f} points: **{verdict}**, "
        f"{100 * margin:+.2f} points to the best of them ({label})."
    ]
    if BASELINE in runs and len(plan.setting.methods[BASELINE].shapes) > 1:
        first = next(iter(plan.setting.tasks))
        active, other = (runs[m][first][0]["active"] for m in (OURS, BASELINE))
        fewer = 1 - active / other
        margin = mean_score(runs[OURS]) - mean_score(runs[BASELINE])
        verdict = "reached" if fewer >= FEWER and margin >= 0 else "missed"
        lines.append(
            f"- {FEWER:.2%} fewer active prompt parameters than deep prompts whose length was "
            f"chosen on dev, at no lower score: **{verdict}**, {abs(fewer):.2%} "
            f"{'fewer' if fewer > 0 else 'more'} ({active:,} against {other:,}) at "
            f"{100 * margin:+.2f} points."
        )
    return lines


def draw_front(plan: Plan) -> None:
    """Mean test score against active prompt parameters, a mark for each shape."""
    from matplotlib import pyplot as plt

    figure_, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    points = front(plan)
    for name, marker in zip(dict.fromkeys(p["method"] for p in points), "osD^v", strict=False):
        own = sorted((p for p in points if p["method"] == name), key=lambda p: p["active"])
        xs, ys = [p["active"] for p in own], [100 * p["test"] for p in own]
        line = "-" if name == BASELINE else "none"  # of one size alone is there a curve
        label = plan.setting.methods[name].label
        axes.plot(xs, ys, linestyle=line, marker=marker, label=label)
        for point, x, y in zip(own, xs, ys, strict=True):
            text = ", ".join(str(value) for value in point["shape"].values())
            axes.annotate(text, (x, y), xytext=(0, 6), textcoords="offset points", ha="center")
    axes.set(
        xscale="log",
        xlabel="active prompt parameters of an input",
        ylabel="mean test score, seed 0 (points)",
        title="MiniLM: score against active prompt parameters (at each mark P, or P, E, k)",
    )
    axes.margins(y=0.12)
    axes.grid(alpha=0.3)
    axes.legend()
    figure_.savefig(FRONT, dpi=120)
    plt.close(figure_)


def setting_results(setting: Setting, title: str) -> list[str]:
    """The tables of one model."""
    plan = Plan(setting)
    if not complete(plan):
        return [f"### {title}", 'Not complete yet; `nox -s "bench(mept)"` goes on with it.']
    parts = [f"### {title}", scores_table(plan), sizes_table(plan)]
    if setting.name == "minilm":
        parts += [
            "Shapes, seed 0:",
            shapes_table(plan),
            "Experts that at least one in a hundred choices of the test samples fell on:",
            experts_table(plan),
            f"![Mean score against active prompt parameters](figures/{FRONT.name})",
        ]
    elif STARTS.exists():
        parts += ["Before anything is learnt, three seeds (none has no prompts):", starts_table()]
    return [*parts, "Tried besides:", tried_table(plan), "\n".join(aims(plan))]


def results() -> str:
    """All tables."""
    return "\n\n".join(
        [
            *setting_results(SETTINGS["minilm"], "MiniLM-L6, classification"),
            *setting_results(SETTINGS["smollm2"], "SmolLM2-135M, in words"),
        ]
    )


def main() -> None:
    """Put the tables between the marks of the page, and draw the front."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{results()}\n\n{END}{after}", encoding="utf-8")
    draw_front(Plan(SETTINGS["minilm"]))
    sys.stdout.write("\n".join(aims(Plan(SETTINGS["minilm"]))) + "\n")


if __name__ == "__main__":
    main()

"""The page of the study of routers, made from its files: tables, what was watched, and the aims."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from comparison_tasks import ROOT
from routing_plan import RESULTS, Record, recorded
from routing_run import MIXTURES
from routing_variants import ROUTERS, VARIANTS, Router

PAGE = ROOT / "docs/routing.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

OURS, BEFORE = "kmeans", "linear"
SHARE = 0.6
"""The share of a layer's experts that are to be in use."""

LAYERS = 0.8
"""The share of the layers in which they are to be."""

NATS = 0.5
"""What the expert is to tell of the task."""

WATCHED = ("linear", "short", "orthogonal", "uncentred", "kmeans")
"""The routers whose steps are shown, from the one that collapses to the one that does not."""

WATCHED_RATE = 1.5e-2

Runs = list[Record]


def row(cells: Iterable[Any]) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def table(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """A table."""
    return "\n".join([row(head), row(["---"] * len(head)), *map(row, lines)])


def points(values: Iterable[float]) -> str:
    """Mean in points, and the standard deviation where there are several."""
    found = [100 * value for value in values]
    mean = f"{statistics.fmean(found):.1f}"
    return mean if len(found) == 1 else f"{mean} ± {statistics.stdev(found):.1f}"


def router_of(run: Record) -> Router:
    """How a run routes."""
    return (ROUTERS | VARIANTS)[run["router"]]


def experts(run: Record) -> int:
    """How many experts its layers have."""
    return len(run["load"][0])


def even_layers(runs: Runs) -> float:
    """The share of layers, of all runs, in which enough of several experts are in use."""
    enough: list[bool] = [count >= SHARE * experts(run) for run in runs for count in run["in_use"]]
    return sum(enough) / len(enough)


def nats(runs: Runs) -> list[float]:
    """What the expert tells of the task, layer by layer, averaged over runs."""
    by_layer = zip(*(run["mutual_information"] for run in runs), strict=True)
    return [statistics.fmean(layer) for layer in by_layer]


def scores_table(mixture: str) -> str:
    """Every router and rate that was run, the best by dev first."""
    tasks = list(MIXTURES[mixture].tasks)
    head = ["router", "rate", "seeds", "dev", "test", *tasks]
    head += ["experts in use by layer, first seed", "layers with 60 % in use", "nats by layer"]
    lines = []
    groups = sorted(
        recorded(mixture).values(),
        key=lambda runs: -statistics.fmean(run["dev_score"] for run in runs),
    )
    for runs in groups:
        told = nats(runs)
        by_task = (f"{100 * statistics.fmean(r['test'][task] for r in runs):.0f}" for task in tasks)
        lines.append(
            [
                router_of(runs[0]).label,
                f"{runs[0]['rate']:g}",
                len(runs),
                points(run["dev_score"] for run in runs),
                points(run["test_score"] for run in runs),
                *by_task,
                " ".join(map(str, runs[0]["in_use"]))
                if len(runs[0]["in_use"]) <= 6
                else f"{min(runs[0]['in_use'])} to {max(runs[0]['in_use'])}",
                f"{even_layers(runs):.0%}" if experts(runs[0]) > 1 else "",
                f"{min(told):.2f} to {max(told):.2f}" if experts(runs[0]) > 1 else "",
            ]
        )
    return table(head, lines)


def watched_table() -> str:
    """What the logits of routers are made of while they learn, averaged over layers, seed 0."""
    head = ["router", "step", "common spread", "own spread", "largest probability", "scale"]
    head += ["experts in use", "gradient of rows over that of experts"]
    lines = []
    for name in WATCHED:
        for run in recorded("minilm").get((name, WATCHED_RATE), [])[:1]:
            for at in run["watched"]:
                lines.append(
                    [
                        router_of(run).label,
                        at["step"],
                        *(
                            f"{statistics.fmean(at[key]):.2f}"
                            for key in ("common_spread", "own_spread", "top_probability")
                        ),
                        f"{statistics.fmean(at['scale']):.1f}" if at["scale"] else "",
                        f"{statistics.fmean(at['in_use']):.1f}",
                        gradient(at),
                    ]
                )
    return table(head, lines)


def gradient(at: dict[str, Any]) -> str:
    """How large the gradient of router rows is against that of experts; the end has none."""
    if "gradient" not in at:
        return ""
    pairs = zip(at["gradient"]["router"], at["gradient"]["experts"], strict=True)
    return f"{statistics.fmean(router / other for router, other in pairs):.2f}"


def common_share() -> str:
    """How much of what routers read is the same for all inputs, before anything is learnt."""
    (run, *_) = recorded("minilm")[BEFORE, WATCHED_RATE]
    shares = [f"{share:.0%}" for share in run["watched"][0]["mean_share"]]
    return (
        "Share of the squared length of pooled tokens that all samples have in common, by layer: "
        f"{', '.join(shares)}."
    )


def best(name: str) -> Runs:
    """The runs of a router at the rate that dev chose, by seed 0."""
    found = {rate: runs for (router, rate), runs in recorded("minilm").items() if router == name}
    return max(found.values(), key=lambda runs: runs[0]["dev_score"])


def gain(ours: Runs, theirs: Runs) -> float:
    """By how many points the mean test score is higher, over the seeds that both have."""
    scores = [{run["seed"]: run["test_score"] for run in runs} for runs in (ours, theirs)]
    both = scores[0].keys() & scores[1].keys()
    return 100 * statistics.fmean(scores[0][seed] - scores[1][seed] for seed in both)


def aims() -> list[str]:
    """Whether the aims were reached, with the numbers."""
    ours, before, single = best(OURS), best(BEFORE), best("single")
    even, told = even_layers(ours), nats(ours)
    gains = [gain(ours, before), gain(ours, single)]
    verdict = {True: "reached", False: "missed"}
    return [
        f"- At least 60 % of the experts in use in at least 80 % of the layers: "
        f"**{verdict[even >= LAYERS]}**, in {even:.0%} (linear: {even_layers(before):.0%}).",
        f"- At no lower score: **{verdict[min(gains) >= 0]}**, {gains[0]:+.1f} points against the "
        f"linear router and {gains[1]:+.1f} against one expert, of the seeds that both have.",
        f"- Mutual information of task and expert above 0.5 nats: "
        f"**{verdict[min(told) > NATS]}** in every layer, {min(told):.2f} to {max(told):.2f} "
        f"(linear: {min(nats(before)):.2f} to {max(nats(before)):.2f}).",
    ]


def results() -> str:
    """All tables."""
    parts = ["### MiniLM-L6, six tasks", scores_table("minilm"), "\n".join(aims())]
    parts += ["### What becomes of the logits", common_share(), watched_table()]
    if (RESULTS / "smollm2").is_dir():
        parts += ["### SmolLM2-135M, two tasks, in words", scores_table("smollm2")]
    return "\n\n".join(parts)


def between_marks(text: str, tables: str) -> str:
    """A page with these tables between its marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def with_results(text: str) -> str:
    """The page with its tables."""
    return between_marks(text, results())


def main() -> None:
    """Write the page."""
    PAGE.write_text(with_results(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write("\n".join(aims()) + "\n")


if __name__ == "__main__":
    main()

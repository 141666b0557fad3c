"""The section of docs/study.md on encoders and encoder-decoders, from their records."""

from __future__ import annotations

import json
import statistics
from typing import Any

from study_tasks import ROOT

RESULTS = ROOT / "benchmarks/results/tokenseek-core/encoders"

WAYS = {
    "dense": "dense",
    "default-10": "default, r = 0.1",
    "default-30": "default, r = 0.3",
    "random-30": "random rows, restarted, r = 0.3",
    "sampled-30": "sampled rows, restarted, r = 0.3",
    "answers-10": "all that is written, a tenth of what is read",
}


def recorded(work: str) -> dict[str, Any]:
    """What was trained, by the name of its way, in the order that tables have."""
    files = {way: RESULTS / work / f"{way}.json" for way in WAYS}
    return {
        way: json.loads(file.read_text(encoding="utf-8"))
        for way, file in files.items()
        if file.exists()
    }


def table(work: str) -> str:
    """One work's ways: the share that is right, and the time of a step."""
    done = recorded(work)
    dense = cpu_seconds(done["dense"])
    lines = ["| way | learning rate | right, % | time of a step |", "|---|---|---|---|"]
    for way, record in done.items():
        rights = [100 * run["right"] for run in record["test"].values()]
        mean, spread = statistics.mean(rights), statistics.stdev(rights)
        share = cpu_seconds(record) / dense
        lines.append(
            f"| {WAYS[way]} | {record['rate']:g} | {mean:.1f} ± {spread:.1f} | {share:.0%} |"
        )
    return "\n".join(lines)


def cpu_seconds(record: dict[str, Any]) -> float:
    """The shortest of the trainings, all of which take the same steps."""
    return min(float(run["cpu_seconds"]) for run in record["test"].values())


def encoders() -> str:
    """The section between its marks."""
    begun = json.loads((RESULTS / "g2p/untrained.json").read_text(encoding="utf-8"))["right"]
    steps = {work: recorded(work)["dense"]["steps"] for work in ("sst2", "g2p")}
    return f"""
### MiniLM on SST-2, full tuning, {steps["sst2"]} steps of 16 sentences, three seeds

{table("sst2")}

### A BART of 0.75M parameters on the sound of English words, {steps["g2p"]} steps of 32

Before, {100 * begun:.1f} % of 400 held-out words are right. It has one block on either side, so
that none can stay exact.

{table("g2p")}
"""

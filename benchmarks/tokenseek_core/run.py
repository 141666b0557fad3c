"""What a TokenSeek step costs beside a dense and a checkpointed one, in the same run.

Each cell is a file under benchmarks/results/tokenseek-core; cells that are there already are not
measured again (--again does), so a run that was cut off goes on where it stopped. At the end the
table in the READMEs is made anew from the files, and a share above its limit ends with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from tokenseek_core import TokenSeekConfig
from tokenseek_core.inspect import Method, compare_steps
from tokenseek_core.models import load_pretrained

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/tokenseek-core"
READMES = (ROOT / "README.md", ROOT / "packages/tokenseek-core/README.md")
BEGIN, END = "<!-- costs: begin -->", "<!-- costs: end -->"

LENGTH = 512


@dataclass(frozen=True)
class Cell:
    """One row of the table.

    Args:
        name: The file that holds it.
        label: How the table calls it.
        method: The step that is compared with dense and checkpointed ones.
        supervised: Share of the tokens that have a target.
        limits: Largest shares of the dense step: saved bytes, working memory and time.
    """

    name: str
    label: str
    method: Method
    supervised: float
    limits: tuple[float, float, float]


def cell(
    name: str,
    label: str,
    *,
    selector: str,
    gradient: str = "restart",
    ratio: float = 0.1,
    checkpointing: bool = False,
    supervised: float = 1.0,
    limits: tuple[float, float, float] = (float("inf"),) * 3,
) -> Cell:
    """A cell of the table from the settings that tell it from the others."""
    config = TokenSeekConfig(ratio=ratio, selector=selector, gradient=gradient)  # type: ignore[arg-type]
    return Cell(name, label, Method(label, config, checkpointing), supervised, limits)


CELLS = (
    cell("random-10", "r = 0.1, random", selector="random", limits=(0.14, 0.17, 0.45)),
    cell(
        "tokenseek-10",
        "r = 0.1, TokenSeek scores",
        selector="tokenseek",
        limits=(0.14, 0.20, 0.57),
    ),
    cell(
        "tokenseek-10-checkpointing",
        "r = 0.1, TokenSeek scores + checkpointing",
        selector="tokenseek",
        checkpointing=True,
        limits=(0.03, 0.15, 0.65),
    ),
    cell(
        "tokenseek-10-prompts",
        "r = 0.1, TokenSeek scores, 40 % of the tokens an unsupervised prompt",
        selector="tokenseek",
        supervised=0.6,
    ),
    cell("random-30", "r = 0.3, random", selector="random", ratio=0.3),
    cell("tokenseek-30", "r = 0.3, TokenSeek scores", selector="tokenseek", ratio=0.3),
    cell(
        "inject-10",
        "r = 0.1, sampled and injected (the default)",
        selector="sampled",
        gradient="inject",
        limits=(0.14, 0.20, 0.70),
    ),
    cell(
        "inject-10-prompts",
        "r = 0.1, sampled and injected, 40 % of the tokens an unsupervised prompt",
        selector="sampled",
        gradient="inject",
        supervised=0.6,
    ),
    cell(
        "inject-10-checkpointing",
        "r = 0.1, sampled and injected + checkpointing",
        selector="sampled",
        gradient="inject",
        checkpointing=True,
        limits=(0.03, 0.20, 0.75),
    ),
)


def measure(cells: list[Cell], repeats: int) -> None:
    """Measure each cell against dense and checkpointed steps of the same run, and write it."""
    torch.set_num_threads(1)  # what other cores do disturbs a single thread least
    torch.manual_seed(0)
    model, _ = load_pretrained("smollm2", device=torch.device("cpu"), dtype=torch.float32)
    model.train()
    ids = torch.randint(model.config.vocab_size, (1, LENGTH))
    for wanted in cells:
        labels = ids.clone()
        labels[:, : round((1 - wanted.supervised) * LENGTH)] = -100
        steps = (Method("dense"), Method("checkpointing", checkpointing=True), wanted.method)
        costs = compare_steps(model, {"input_ids": ids, "labels": labels}, steps, repeats=repeats)
        dense, rival, ours = (cost.summary() for cost in costs)
        record = {
            "label": wanted.label,
            "model": "SmolLM2-135M-Instruct, dequantised from 4 bits to float32",
            "batch": [1, LENGTH],
            "supervised_share": wanted.supervised,
            "dense": dense,
            "checkpointing": rival,
            "ours": ours,
            "shares_of_dense": {"ours": shares(ours, dense), "checkpointing": shares(rival, dense)},
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
            "repeats": repeats,
        }
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{wanted.name}.json"
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        sys.stdout.write(f"{path.name}: {record['shares_of_dense']}\n")
        sys.stdout.flush()


def shares(ours: dict[str, Any], dense: dict[str, Any]) -> dict[str, float]:
    """Our figures as shares of the dense step's."""
    figures = ("saved_bytes", "working_bytes", "cpu_seconds")
    return {figure: round(ours[figure] / dense[figure], 4) for figure in figures} | {
        "kept_bytes": round(ours["kept_bytes"] / dense["saved_bytes"], 4)
    }


def recorded() -> dict[str, dict[str, Any]]:
    """The cells that are on disk, by name."""
    found = {}
    for wanted in CELLS:
        path = RESULTS / f"{wanted.name}.json"
        if path.exists():
            found[wanted.name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def table(records: dict[str, dict[str, Any]]) -> str:
    """The Markdown table of all recorded cells, each with checkpointing in the same run."""
    lines = [
        "| step | saved for backward | working memory | time | dense + checkpointing, same run |",
        "|---|---|---|---|---|",
    ]
    for record in records.values():
        ours, rival = (record["shares_of_dense"][name] for name in ("ours", "checkpointing"))
        saved = _percent(ours["saved_bytes"])
        if "+ checkpointing" in record["label"]:
            saved += f" + {_percent(ours['kept_bytes'])} keys and values"
        beside = [_percent(rival[f]) for f in ("saved_bytes", "working_bytes", "cpu_seconds")]
        cells = [
            record["label"],
            saved,
            _percent(ours["working_bytes"]),
            _percent(ours["cpu_seconds"]),
            " / ".join(beside),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def write_tables(text: str) -> None:
    """Put the table between the marks in the READMEs."""
    for path in READMES:
        before, rest = path.read_text(encoding="utf-8").split(BEGIN)
        _, after = rest.split(END)
        path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def above_limits(records: dict[str, dict[str, Any]]) -> list[str]:
    """A sentence for each share that is above its limit."""
    found = []
    for wanted in CELLS:
        if wanted.name not in records:
            continue
        share = records[wanted.name]["shares_of_dense"]["ours"]
        figures = (share["saved_bytes"], share["working_bytes"], share["cpu_seconds"])
        for name, value, limit in zip(
            ("saved for backward", "working memory", "time"), figures, wanted.limits, strict=True
        ):
            if value > limit:
                found.append(f"{wanted.label}: {name} {value:.1%} is above {limit:.0%}")
    return found


def main() -> int:
    """Measure what is missing, write the tables, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure every cell anew")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps; the shortest counts")
    arguments = parser.parse_args()
    done = {} if arguments.again else recorded()
    missing = [wanted for wanted in CELLS if wanted.name not in done]
    if missing:
        measure(missing, arguments.repeats)
    records = recorded()
    write_tables(table(records))
    sys.stdout.write(table(records) + "\n")
    failures = above_limits(records)
    for failure in failures:
        sys.stderr.write(f"error: {failure}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

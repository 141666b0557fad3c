"""The Markdown tables of what was measured on an accelerator.

Prints those of a folder of records, or of a summary.json alone; --write puts them into
docs/accelerator.md, for every device under benchmarks/results/accelerator.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from accelerator.plan import COUNTED, LEARNING, LONGEST, STEPS
from accelerator.records import LIBRARIES, RESULTS, Record, recorded
from accelerator.sources import ROOT

PAGE = ROOT / "docs/accelerator.md"
BEGIN, END = "<!-- accelerator: begin -->", "<!-- accelerator: end -->"
TUNINGS = {"full": "All weights", "lora": "LoRA"}

Records = Mapping[str, Record]


def report(records: Records) -> str:
    """All tables of one device, those of which something was measured."""
    parts = [
        environments(records),
        checks(records),
        counts(records),
        *(costs(records, tuning) for tuning in TUNINGS),
        longest(records),
        *(learned(records, tuning) for tuning in TUNINGS),
        pairs(records),
        failures(records),
    ]
    return "\n\n".join(part for part in parts if part)


def failed_checks(records: Records) -> list[str]:
    """A sentence for each check whose figures are beyond its tolerance."""
    return [
        f"{name}: {record['largest']:.2g} is above {record['tolerance']:.2g}"
        for name, record in records.items()
        if not record.get("holds", True)
    ]


def environments(records: Records) -> str:
    """The device and the versions, a line for each combination that measured something."""
    lines = []
    for record in records.values():
        known = record["environment"]
        memory = known["memory_bytes"]
        parts = [
            known["device"] + (f" ({memory / 2**30:.0f} GiB)" if memory else ""),
            f"Python {known['python']}",
            *(f"{name} {known[name]}" for name in LIBRARIES if known[name]),
        ]
        line = ", ".join(parts) + "."
        if line not in lines:
            lines.append(line)
    return "\n".join(lines)


def checks(records: Records) -> str:
    """What was held against the CPU, or against another count."""
    rows = [
        [
            name.partition("/")[2],
            f"{record['largest']:.1e}",
            f"{record['tolerance']:.1e}",
            "yes" if record["holds"] else "**no**",
        ]
        for name, record in records.items()
        if "holds" in record
    ]
    return table("Correctness", ["check", "largest deviation", "tolerance", "holds"], rows)


def counts(records: Records) -> str:
    """Kernels, calls and waits of a step."""
    rows = []
    for method in COUNTED:
        record = measured(records, f"correctness/counts-{method}")
        if record:
            waits = record["host_waits"]
            rows.append(
                [
                    method,
                    "" if waits is None else str(sum(waits.values())),
                    number(record["operators"]),
                    number(record["kernels"]),
                    number(record["kernel_seconds"], 1e3, ".1f"),
                ]
            )
    heads = ["method", "waits of the host", "operators", "kernels", "ms in kernels"]
    return table("One step, counted", heads, rows)


def costs(records: Records, tuning: str) -> str:
    """Time and memory of steps, as shares of the dense ones too."""
    rows = []
    for batch in batches(records, tuning):
        prefix = f"cost/{tuning}-{batch}-"
        dense = measured(records, f"{prefix}dense")
        rows += [
            [batch.replace("x", " x "), method, *cost_cells(record, dense)]
            for method in STEPS
            if (record := measured(records, f"{prefix}{method}"))
        ]
    heads = ["tokens", "method", "seconds", "of dense", "tokens/s"]
    heads += ["peak MiB", "reserved MiB", "working MiB", "of dense"]
    return table(f"{TUNINGS[tuning]}: a step", heads, rows)


def cost_cells(record: Record, dense: Record | None) -> list[str]:
    """A row of that table."""
    if "out_of_memory" in record:
        return ["out of memory"] + [""] * 6
    known = dense if dense and "out_of_memory" not in dense else None
    return [
        f"{record['seconds']:.3f}",
        share(record, known, "seconds"),
        number(record["tokens_per_second"]),
        number(record["peak_allocated_mib"]),
        number(record["peak_reserved_mib"]),
        number(record["working_mib"]),
        share(record, known, "working_mib"),
    ]


def batches(records: Records, tuning: str) -> list[str]:
    """Rows and tokens of which something was measured, as names have them."""
    names = (name.partition(f"cost/{tuning}-")[2].partition("-")[0] for name in records)
    return sorted({name for name in names if name}, key=lambda n: math.prod(map(int, n.split("x"))))


def longest(records: Records) -> str:
    """The longest instances."""
    rows = []
    caps = sorted({r.split("-")[1] for r in records if r.startswith("cost/longest-")}, key=float)
    for cap in caps:
        for tuning, label in TUNINGS.items():
            for method in LONGEST:
                record = measured(records, f"cost/longest-{cap}-{tuning}-{method}")
                if record and "device_is_smaller" not in record:
                    found = number(record["longest"])
                    bound = number(record["too_long"]) or "not found"
                    rows.append([f"{cap} GiB", label, method, found, bound])
    heads = ["memory", "trained", "method", "tokens that fit", "tokens that do not"]
    return table("The longest instance", heads, rows)


def learned(records: Records, tuning: str) -> str:
    """Losses at equal steps, and what dense training reaches in the same time."""
    paces = measured(records, f"learning/{tuning}-paces")
    dense = dense_losses(records, tuning)
    most = max(dense, default=0)
    rows = []
    for method, steps in [*(("dense", s) for s in sorted(dense)), *((m, most) for m in LEARNING)]:
        record = measured(records, f"learning/{tuning}-{method}-{steps}")
        if record is None:
            continue
        start, loss = record["start_loss"], record["loss"]
        gain = (start - loss) / (start - dense[most])
        row = [method, str(steps), f"{loss:.3f}", f"{gain:.2f}", steps_to(dense, loss), "", ""]
        if paces:
            pace = paces["seconds"][method]
            row[5] = f"{pace:.3f}"
            row[6] = loss_at(dense, steps * pace / paces["seconds"]["dense"])
        rows.append(row)
    heads = ["method", "steps", "loss", "share of dense's gain", "dense steps to that loss"]
    heads += ["seconds a step", "dense's loss in that time"]
    named = [r for n, r in records.items() if n.startswith(f"learning/{tuning}-") and "task" in r]
    title = f"{TUNINGS[tuning]}: learning, {named[0]['task']}" if named else ""
    return table(title, heads, rows)


def dense_losses(records: Records, tuning: str) -> dict[int, float]:
    """Losses of dense trainings by their steps, each with a decay of its own."""
    prefix = f"learning/{tuning}-dense-"
    found = [measured(records, name) for name in records if name.startswith(prefix)]
    return {record["steps"]: record["loss"] for record in found if record}


def loss_at(losses: Mapping[int, float], steps: float) -> str:
    """The dense loss at a number of steps, in a line over their logarithm, or its bound."""
    known = sorted(losses)
    for low, high in itertools.pairwise(known):
        if low <= steps <= high:
            weight = math.log(steps / low) / math.log(high / low)
            return f"{(1 - weight) * losses[low] + weight * losses[high]:.3f}"
    if steps >= known[-1]:
        return f"at most {losses[known[-1]]:.3f}"
    return f"at least {losses[known[0]]:.3f}"


def steps_to(losses: Mapping[int, float], loss: float) -> str:
    """The other way round: the dense steps to a loss."""
    known = sorted(losses)
    if loss == losses[known[-1]]:
        return str(known[-1])
    for low, high in itertools.pairwise(known):
        if losses[high] <= loss <= losses[low]:
            whole = losses[low] - losses[high]
            weight = (losses[low] - loss) / whole if whole else 1.0
            return f"{low * (high / low) ** weight:.0f}"
    return f"below {known[0]}" if loss > losses[known[0]] else f"above {known[-1]}"


def pairs(records: Records) -> str:
    """ProMotion's predictions and trainings."""
    rows = [
        [
            name.partition("/")[2].replace("-", ", "),
            f"{record['seconds']:.3f}",
            number(record["peak_mib"]),
        ]
        for name, record in records.items()
        if name.startswith("motion/") and "seconds" in record
    ]
    return table("ProMotion: a pair, a training step", ["cell", "seconds", "peak MiB"], rows)


def failures(records: Records) -> str:
    """What gave no figure, and why."""
    lines = [f"- {name}: {r['failed']}" for name, r in records.items() if "failed" in r]
    return "Without a figure:\n" + "\n".join(lines) if lines else ""


def measured(records: Records, name: str) -> Record | None:
    """A record with figures."""
    record = records.get(name)
    return None if record is None or "failed" in record else record


def share(record: Record, dense: Record | None, figure: str) -> str:
    """A figure as a share of the dense step's."""
    return "" if dense is None else f"{record[figure] / dense[figure]:.3g}"


def number(value: float | None, factor: float = 1, digits: str = ",.0f") -> str:
    """A figure for a table; nothing where there is none."""
    return "" if value is None else format(factor * value, digits)


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table under its title; nothing without rows."""
    lines = [" | ".join(row) for row in rows]
    if not lines:
        return ""
    heading = [f"**{title}**", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join([*heading, *(f"| {line} |" for line in lines)])


def page() -> str:
    """The tables of all devices that have records."""
    folders = sorted(path.parent for path in RESULTS.glob("*/summary.json"))
    return "\n\n".join(report(recorded(folder)) for folder in folders)


def main() -> None:
    """Print or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="of one device; all are the default")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    options = parser.parse_args()
    if options.write:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        _, after = rest.split(END)
        PAGE.write_text(f"{before}{BEGIN}\n{page()}\n{END}{after}", encoding="utf-8")
        return
    sys.stdout.write((report(recorded(options.folder)) if options.folder else page()) + "\n")


if __name__ == "__main__":
    main()

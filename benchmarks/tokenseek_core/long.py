"""What steps over long sequences cost: peak resident memory and processor time against length.

A Llama of 38 million parameters in float32 with AdamW, one sequence, all of its tokens supervised,
one thread. Each cell is measured in a process of its own and kept in
benchmarks/results/tokenseek-core/long.json; cells that are there already are not measured again.
Lengths that nobody would wait for are forecast on tensors without memory. Both go to docs/costs.md,
and a cell above its limit ends with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from tokenseek_common.memory import measure
from tokenseek_core import TokenSeekConfig
from tokenseek_core.estimate._plans import Plan, ids
from tokenseek_core.inspect import Method, chunked_loss, using

RESULT = Path(__file__).parents[2] / "benchmarks/results/tokenseek-core/long.json"
FIGURE = Path(__file__).parents[2] / "docs/figures/long-sequences.png"

PAGE = Path(__file__).parents[2] / "docs/costs.md"
BEGIN, END = "<!-- long: begin -->", "<!-- long: end -->"

LENGTHS = (2048, 8192, 16384, 32768)
FORECAST = (2048, 8192, 16384, 32768, 65536, 131072)
WARM = 64
"""Tokens of the step before, which makes the optimizer's state and has the check."""

GIB = 2**30


@dataclass(frozen=True)
class Way:
    """A way to train.

    Args:
        label: How the figure calls it.
        method: TokenSeek's settings, if any, checkpointing, and the loss.
        longest: The longest sequence that is measured.
        limits: Most GiB that may be resident, by length.
    """

    label: str
    method: Method
    longest: int = 8192
    limits: tuple[tuple[int, float], ...] = ()


def restarted(**settings: Any) -> TokenSeekConfig:
    """The cheapest step: random tokens, the loss restarted on them, no logits kept."""
    return TokenSeekConfig(selector="random", gradient="restart", logits=False, **settings)


WAYS = {
    "random": Way(
        "TokenSeek, random and restarted",
        Method("", restarted()),
        longest=16384,
        limits=((16384, 3.0), (32768, 4.0)),
    ),
    "default": Way(
        "TokenSeek, the default",
        Method("", TokenSeekConfig()),
        longest=32768,
        limits=((16384, 3.0), (32768, 4.0)),
    ),
    "default-checkpointing": Way(
        "TokenSeek, the default + checkpointing", Method("", TokenSeekConfig(), True)
    ),
    "dense": Way("dense", Method("")),
    "checkpointing": Way("checkpointing", Method("", None, True)),
    "checkpointing-chunked": Way(
        "checkpointing + head in chunks", Method("", None, True, chunked_loss)
    ),
}


def llama() -> LlamaConfig:
    """Long and narrow: at 32k tokens attention outweighs everything else."""
    return LlamaConfig(
        vocab_size=8000,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=max(FORECAST),
    )


def measured(name: str, length: int) -> dict[str, float]:
    """Measure a step in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    way, model = WAYS[name], LlamaForCausalLM(llama()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0, fused=True)
    tokens = torch.randint(3, 8000, (1, length))

    def step(tokens: Tensor) -> None:
        way.method.loss_of(model, {"input_ids": tokens, "labels": tokens}).backward()
        optimizer.step()
        optimizer.zero_grad()

    with using(model, way.method):
        step(tokens[:, :WARM])
        with measure("cpu") as reading:
            begin, cpu_begin = time.perf_counter(), time.process_time()
            step(tokens)
            cpu, wall = time.process_time() - cpu_begin, time.perf_counter() - begin
    report = reading.report
    return {
        "peak_gib": report.peak / GIB,
        "before_gib": report.live_before / GIB,
        "cpu_seconds": cpu,
        "seconds": wall,
    }


def forecast(name: str, length: int) -> float:
    """GiB of a step's peak, by the books of its tensors: what the process itself holds is apart."""
    method = WAYS[name].method
    if method.config is not None:  # the check reads values
        method = replace(method, config=replace(method.config, check=False))
    return Plan(method).estimator(llama(), torch.float32)(ids(1, length)).peak / GIB


def measured_apart(name: str, length: int) -> dict[str, float]:
    """Measure a step in a process of its own."""
    arguments = [sys.executable, __file__, "--cell", name, str(length)]
    shown = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(shown.splitlines()[-1])
    return found


def cells(longest: int) -> list[tuple[str, int]]:
    """What is measured, the short ones first."""
    return [
        (name, length)
        for length in LENGTHS
        for name, way in WAYS.items()
        if length <= min(way.longest, longest)
    ]


def plot(record: dict[str, Any]) -> None:
    """Memory and processor time against length; forecasts are dashed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    memory, processor = figure.subplots(1, 2)
    for number, (name, way) in enumerate(WAYS.items()):
        known = {int(length): cell for length, cell in record["measured"].get(name, {}).items()}
        color = f"C{number}"
        for axes, figure_of in ((memory, "peak_gib"), (processor, "cpu_seconds")):
            values = [cell[figure_of] for cell in known.values()]
            axes.plot(list(known), values, "o-", color=color, label=way.label)
        books = {int(length): gib for length, gib in record["forecast"].get(name, {}).items()}
        expected = [gib + record["process_gib"] for gib in books.values()]
        memory.plot(list(books), expected, "--", color=color, linewidth=1)
    memory.axhline(4, color="grey", linewidth=0.8)
    for axes, label in (
        (memory, "peak resident GiB (dashed: forecast)"),
        (processor, "processor seconds of a step"),
    ):
        axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel=label)
        axes.set_xticks(FORECAST, [f"{length // 1024}k" for length in FORECAST])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    processor.legend(fontsize="small")
    figure.suptitle("A step of a Llama of 38 million parameters, float32, one sequence, one thread")
    figure.savefig(FIGURE, dpi=110)


def above_limits(record: dict[str, Any]) -> list[str]:
    """A sentence for each cell, measured or forecast, that is above its limit."""
    found = []
    for name, way in WAYS.items():
        for length, limit in way.limits:
            expected = record["forecast"][name][str(length)] + record["process_gib"]
            cell = record["measured"].get(name, {}).get(str(length))
            peak = expected if cell is None else cell["peak_gib"]
            if peak > limit:
                found.append(f"{way.label}, {length} tokens: {peak:.2f} GiB is above {limit} GiB")
    return found


def table(record: dict[str, Any]) -> str:
    """GiB at the peak and processor seconds by length; in brackets what is forecast."""
    lines = [f"| tokens | {' | '.join(way.label for way in WAYS.values())} |"]
    lines.append("|---" * (1 + len(WAYS)) + "|")
    for length in FORECAST:
        row = [f"{length // 1024}k"]
        for name in WAYS:
            cell = record["measured"].get(name, {}).get(str(length))
            if cell is None:
                peak = record["forecast"][name][str(length)] + record["process_gib"]
                row.append(f"({peak:.1f})")
            else:
                row.append(f"{cell['peak_gib']:.1f}, {cell['cpu_seconds']:.0f} s")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def with_table(text: str) -> str:
    """The page with the table of the record."""
    before, rest = text.split(BEGIN)
    made = table(json.loads(RESULT.read_text(encoding="utf-8")))
    return f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Measure what is missing, forecast, draw, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure every cell anew")
    parser.add_argument("--longest", type=int, default=LENGTHS[-1], help="longest measured length")
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        sys.stdout.write(json.dumps(measured(arguments.cell[0], int(arguments.cell[1]))) + "\n")
        return 0
    record: dict[str, Any] = {"measured": {}}
    if RESULT.exists() and not arguments.again:
        record = json.loads(RESULT.read_text(encoding="utf-8"))
    for name, length in cells(arguments.longest):
        known = record["measured"].setdefault(name, {})
        if str(length) not in known:
            known[str(length)] = measured_apart(name, length)
            sys.stdout.write(f"{name}, {length}: {known[str(length)]}\n")
            sys.stdout.flush()
            write(record)
    first = record["measured"]["random"][str(LENGTHS[0])]
    parameters = sum(p.numel() for p in LlamaForCausalLM(llama()).parameters())
    record |= {
        # Before the step, all but the weights and AdamW's two averages.
        "process_gib": first["before_gib"] - 3 * 4 * parameters / GIB,
        "forecast": {
            name: {str(length): forecast(name, length) for length in FORECAST} for name in WAYS
        },
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    write(record)
    plot(record)
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    failures = above_limits(record)
    for failure in failures:
        sys.stderr.write(f"error: {failure}\n")
    return 1 if failures else 0


def write(record: dict[str, Any]) -> None:
    """Keep what is known."""
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

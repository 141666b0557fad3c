"""What one more block costs a training step, forecast: tables in docs/memory.md.

The shape of Llama-3.2-1B, bfloat16, one sequence of 2048 tokens, fused AdamW, with 16 blocks and
with 8: an eighth of the difference is a block. Goes to
benchmarks/results/tokenseek-core/layers.json; `--table` makes the tables of it, and of the record
of estimate.py, alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig

from estimate import BATCH, LENGTH, llama
from estimate import RESULT as WHOLE_STEPS
from tokenseek_core import TokenSeekConfig
from tokenseek_core.estimate import Adapters, Row, plans
from tokenseek_core.estimate._plans import ids

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks/results/tokenseek-core/layers.json"
PAGE = ROOT / "docs/memory.md"
LAYERS, FEWER = 16, 8
KINDS = ("parameters", "gradients", "optimizer", "activations", "temporaries")
NAMES = (
    "dense",
    "LoRA",
    "LoRA + checkpointing",
    "LoRA + TokenSeek",
    "LoRA + TokenSeek + checkpointing",
)
"""Where both have the same fullest instant, the beginning of the backward pass."""

WHOLE = (
    "dense",
    "checkpointing",
    "TokenSeek, sampled and injected",
    "LoRA",
    "LoRA + checkpointing",
    "LoRA + checkpointing + chunked head",
    "LoRA + TokenSeek, sampled and injected",
    "LoRA + TokenSeek + checkpointing, sampled and injected",
    "4-bit LoRA + checkpointing + chunked head",
    "4-bit LoRA + TokenSeek",
    "4-bit LoRA + TokenSeek, loss in chunks",
    "4-bit LoRA + TokenSeek + checkpointing, loss in chunks",
    "4-bit LoRA + TokenSeek, sampled and injected",
    "4-bit LoRA + TokenSeek + checkpointing, answers that are 12 % of the tokens",
)
"""Rows of the record of estimate.py that the page has; without an ending, the paper's settings."""


def shape(layers: int) -> LlamaConfig:
    """The shape with so many blocks."""
    config = llama()
    config.num_hidden_layers = layers
    return config


def estimated() -> dict[str, Any]:
    """Estimate each way with more blocks and with fewer."""
    torch.set_num_threads(1)  # nothing is computed
    adapters = Adapters(rank=8, float32=False)
    chosen = {plan.name: plan for plan in plans(TokenSeekConfig(), adapters)}
    steps: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
    for name in NAMES:
        for layers in (LAYERS, FEWER):
            estimator = chosen[name].estimator(shape(layers), torch.bfloat16)
            row = Row(name, estimator(ids(BATCH, LENGTH)))
            steps[name][str(layers)] = row.summary(row)
    return {
        "model": "shape of Llama-3.2-1B, bfloat16, tied embeddings",
        "batch": [BATCH, LENGTH],
        "optimizer": "AdamW(fused=True)",
        "lora": dataclasses.asdict(adapters),
        "steps": steps,
        "torch": torch.__version__,
    }


def per_layer(step: dict[str, dict[str, int]]) -> dict[str, float]:
    """Bytes that one block adds at the fullest instant, by kind."""
    more, fewer = step[str(LAYERS)], step[str(FEWER)]
    names = [f"{kind}_bytes" for kind in KINDS] + ["peak_bytes"]
    return {name: (more[name] - fewer[name]) / (LAYERS - FEWER) for name in names}


def layers_table(record: dict[str, Any]) -> str:
    """MiB that one block adds."""
    lines = [f"| MiB of a block | {' | '.join(KINDS)} | all |", "|---" * (len(KINDS) + 2) + "|"]
    for name, step in record["steps"].items():
        cells = [f"{size / 2**20:.1f}" for size in per_layer(step).values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def whole_table(record: dict[str, Any]) -> str:
    """GiB of the whole step, by kind."""
    lines = [f"| GiB of a step | {' | '.join(KINDS)} | peak | of dense |"]
    lines.append("|---" * (len(KINDS) + 3) + "|")
    steps = {step["step"]: step for step in record["steps"]}
    for name in WHOLE:
        sizes = [steps[name][f"{kind}_bytes"] for kind in KINDS] + [steps[name]["peak_bytes"]]
        cells = [f"{size / 2**30:.2f}" for size in sizes]
        lines.append(f"| {name} | {' | '.join(cells)} | {steps[name]['share_of_dense']:.1%} |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """The page with the tables of the records."""
    for mark, path, make in (
        ("layers", RESULT, layers_table),
        ("whole", WHOLE_STEPS, whole_table),
    ):
        begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
        made = make(json.loads(path.read_text(encoding="utf-8")))
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{made}\n{end}{rest.split(end)[1]}"
    return text


def main() -> None:
    """Estimate, record, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="make the tables of what is recorded")
    if not parser.parse_args().table:
        RESULT.write_text(json.dumps(estimated(), indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

"""What each way to fine-tune a model of the shape of Llama-3.2-1B will need, estimated.

Weights in bfloat16, one sequence of 2048 tokens, fused AdamW. The terms of each row, the host's
resident set and the seconds go to benchmarks/results/tokenseek-core/estimate-llama-3.2-1b.json; a
row above its limit ends with exit code 1.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig

from tokenseek_common.memory import format_bytes, measure
from tokenseek_core import TokenSeekConfig
from tokenseek_core.estimate import Adapters
from tokenseek_core.estimate._plans import Plan, ids, plans
from tokenseek_core.estimate._rows import Row

RESULT = Path(__file__).parents[2] / "benchmarks/results/tokenseek-core/estimate-llama-3.2-1b.json"

BATCH, LENGTH = 1, 2048
CHUNKED = ", loss in chunks"
INJECTED = ", sampled and injected"
ANSWERS = ", answers that are 12 % of the tokens"
LIMITS = {
    "4-bit LoRA + TokenSeek" + CHUNKED: 0.13,
    "4-bit LoRA + TokenSeek + checkpointing" + CHUNKED: 0.10,
}
"""Largest share of the dense step's peak."""


def llama() -> LlamaConfig:
    """The shape of Llama-3.2-1B."""
    return LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        max_position_embeddings=131072,
        tie_word_embeddings=True,
    )


def wanted() -> dict[str, Plan]:
    """All plans by name: the paper's settings, its loss in chunks, injected, and for answers."""
    adapters = Adapters(rank=8, float32=False)
    paper = TokenSeekConfig.paper()
    found = {plan.name: plan for plan in plans(paper, adapters)}
    for ending, settings, supervised in (
        (CHUNKED, dataclasses.replace(paper, logits=False), 1.0),
        (INJECTED, TokenSeekConfig(selector="sampled", gradient="inject"), 1.0),
        (ANSWERS, TokenSeekConfig.answers(), 0.12),
    ):
        for plan in plans(settings, adapters, supervised):
            if plan.method.config is not None:
                found[plan.name + ending] = plan
    return found


def estimated() -> dict[str, Any]:
    """Estimate every plan."""
    torch.set_num_threads(1)  # nothing is computed
    begin, rows, seconds = time.perf_counter(), [], []
    with measure("cpu") as host:
        for name, plan in wanted().items():
            since = time.perf_counter()
            estimator = plan.estimator(llama(), torch.bfloat16)
            rows.append(Row(name, estimator(ids(BATCH, LENGTH))))
            seconds.append(time.perf_counter() - since)
    return {
        "model": "shape of Llama-3.2-1B, bfloat16, tied embeddings",
        "batch": [BATCH, LENGTH],
        "optimizer": "AdamW(fused=True)",
        "lora": dataclasses.asdict(Adapters(rank=8, float32=False)),
        "steps": [
            row.summary(rows[0]) | {"seconds": round(spent, 1)}
            for row, spent in zip(rows, seconds, strict=True)
        ],
        "limits": LIMITS,
        "host_resident_bytes": host.report.peak,
        "seconds": round(time.perf_counter() - begin, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")},
    }


def above_limits(record: dict[str, Any]) -> list[str]:
    """A sentence for each share that is above its limit."""
    shares = {step["step"]: step["share_of_dense"] for step in record["steps"]}
    return [
        f"{name}: {shares[name]:.1%} of the dense step's peak is above {limit:.0%}"
        for name, limit in LIMITS.items()
        if shares[name] > limit
    ]


def main() -> int:
    """Estimate, record, judge."""
    record = estimated()
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for step in record["steps"]:
        terms = {
            name.removesuffix("_bytes"): format_bytes(size)
            for name, size in step.items()
            if name.endswith("_bytes") and size
        }
        sys.stdout.write(f"{step['step']}: {step['share_of_dense']:.1%} {terms}\n")
    failures = above_limits(record)
    for failure in failures:
        sys.stderr.write(f"error: {failure}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

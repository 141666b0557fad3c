"""What a TokenSeek step costs beside dense and checkpointed ones, in the same run.

Each group of steps, on a batch of which another share of the tokens carries the loss or with
another adapter in place of the weights, is a file under benchmarks/results/tokenseek-core; groups
that are there already are not measured again (--again does). At the end the tables in the pages are
made anew from the files, and a share above its limit ends with exit code 1. Times are seconds of
the process on its one thread, so that other programs disturb them little.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from tokenseek_core import TokenSeekConfig
from tokenseek_core.inspect import Method, StepCost, chunked_loss, compare_steps
from tokenseek_core.models import load_pretrained
from tokenseek_core.models._adapters import with_adapters
from tokenseek_core.models._four_bit import quantize
from tokenseek_core.training import FinetuneSettings
from tokenseek_core.training._settings import AdapterName

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/tokenseek-core"
PAGES = (
    ROOT / "README.md",
    ROOT / "packages/tokenseek-core/README.md",
    ROOT / "docs/costs.md",
    ROOT / "docs/beside.md",
)
IN_SHORT = {
    "supervised-100": (0, 1, 2, 7, 8),
    "supervised-12": (1, 2, 3, 4),
    "adapter-lora": (2,),
}
"""What the short table has, rows of each group."""

LENGTH = 512
CHUNK_ROWS = 128
"""Rows of the rival's head at once; 8, which torch chooses by itself, take a fifth longer."""

Limits = tuple[float, float, float]
"""Largest shares of the dense step: saved bytes, working memory and time."""


def torch_chunked_loss(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """The dense loss by torch's own head and loss in chunks, over the rows that have a target."""
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        return chunked_loss(model, batch)
    hidden, targets = _rows(model, batch)
    options = torch.nn.LinearCrossEntropyOptions(
        batch_chunk_size=min(CHUNK_ROWS, len(targets)), chunking_method=None
    )
    return F.linear_cross_entropy(hidden, _table(model), targets, options=options)


def loss_of_targets(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """The dense loss with the head on the rows that have a target alone."""
    hidden, targets = _rows(model, batch)
    return F.cross_entropy(F.linear(hidden, _table(model)), targets)


def _table(model: PreTrainedModel) -> Tensor:
    weight: Tensor = model.get_output_embeddings().weight
    return weight


def _rows(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Final hidden states of the rows that have a target, [n, d], and the targets, [n]."""
    decoder = model.get_decoder()
    hidden = decoder(input_ids=batch["input_ids"], use_cache=False).last_hidden_state[:, :-1]
    targets = batch["labels"][:, 1:]
    return hidden[targets != -100], targets[targets != -100]


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        method: The step; its name is how the table calls it.
        limits: What it may take.
    """

    method: Method
    limits: Limits = (float("inf"),) * 3


def ours(label: str, config: TokenSeekConfig, limits: Limits = (float("inf"),) * 3) -> Row:
    """A row with TokenSeek's settings, checkpointed where its label says so."""
    return Row(Method(label, config, checkpointing="+ checkpointing" in label), limits)


PAPER, DEFAULT, ANSWERS = TokenSeekConfig.paper(), TokenSeekConfig(), TokenSeekConfig.answers()
RANDOM = dataclasses.replace(PAPER, selector="random")
CHECKPOINTED = Row(Method("dense + checkpointing", checkpointing=True))
CHUNKED = Row(
    Method(
        "dense + checkpointing + head and loss in chunks",
        checkpointing=True,
        loss=torch_chunked_loss,
    )
)


@dataclass(frozen=True)
class Group:
    """Steps that are measured beside one dense step, on the same batch.

    Args:
        rows: The steps.
        supervised: Share of the tokens that carry the loss.
        adapter: What is trained in place of the weights, as `tokenseek finetune` calls it.
    """

    rows: tuple[Row, ...]
    supervised: float = 1.0
    adapter: AdapterName = "none"

    def model(self) -> Any:
        """SmolLM2, with fresh adapters of the usual rank where they are trained."""
        model, _ = load_pretrained("smollm2", device=torch.device("cpu"), dtype=torch.float32)
        adapters = FinetuneSettings(model="smollm2", data="", adapter=self.adapter).adapters
        if self.adapter == "qlora":
            quantize(model)
        return model.train() if adapters is None else with_adapters(model, "", adapters).train()

    def label(self, method: str) -> str:
        """What the table calls one of its steps."""
        return method if self.adapter == "none" else f"{ADAPTERS[self.adapter]}, {method}"


ADAPTERS: dict[AdapterName, str] = {"lora": "LoRA", "loha": "LoHa", "qlora": "QLoRA"}


def beside_adapters(saved: float, random: float, scored: float) -> tuple[Row, ...]:
    """The rows of an adapter, with the largest shares that are saved, and of the time."""
    return (
        ours("r = 0.1, random", RANDOM, (saved, 0.45, random)),
        ours("r = 0.1, TokenSeek scores", PAPER, (saved, 0.45, scored)),
        ours("r = 0.1, sampled and injected (the default)", DEFAULT),
    )


GROUPS = {
    "supervised-100": Group(
        (
            CHECKPOINTED,
            CHUNKED,
            ours("r = 0.1, random", RANDOM, (0.14, 0.17, 0.45)),
            ours("r = 0.1, TokenSeek scores", PAPER, (0.14, 0.20, 0.57)),
            ours("r = 0.1, TokenSeek scores + checkpointing", PAPER, (0.03, 0.15, 0.65)),
            ours("r = 0.3, random", dataclasses.replace(RANDOM, ratio=0.3)),
            ours("r = 0.3, TokenSeek scores", dataclasses.replace(PAPER, ratio=0.3)),
            ours("r = 0.1, sampled and injected (the default)", DEFAULT, (0.14, 0.20, 0.70)),
            ours("r = 0.1, sampled and injected + checkpointing", DEFAULT, (0.03, 0.20, 0.75)),
        ),
    ),
    "supervised-60": Group(
        (
            CHECKPOINTED,
            CHUNKED,
            ours("r = 0.1, TokenSeek scores", PAPER),
            ours("r = 0.1, sampled and injected (the default)", DEFAULT),
        ),
        supervised=0.6,
    ),
    "supervised-12": Group(
        (
            CHECKPOINTED,
            Row(Method("dense, head on the rows with a target alone", loss=loss_of_targets)),
            CHUNKED,
            ours("answers: all those tokens, a tenth of the others", ANSWERS, (0.25, 0.20, 0.50)),
            ours("answers + checkpointing", ANSWERS, (0.06, 0.20, 0.55)),
        ),
        supervised=0.12,
    ),
    "adapter-lora": Group(beside_adapters(0.14, 0.50, 0.68), adapter="lora"),
    # It keeps the products of its thin matrices, as large as the weights, whatever the tokens are.
    "adapter-loha": Group(beside_adapters(0.46, 0.56, 0.68), adapter="loha"),
    # Each pass makes the weights anew out of their four bits.
    "adapter-qlora": Group(beside_adapters(0.14, 0.52, 0.70), adapter="qlora"),
}
"""The groups by the names of their files."""


def path_of(group: str) -> Path:
    """The file of a group."""
    return RESULTS / f"{group}.json"


def measure(name: str, repeats: int) -> None:
    """Measure a group, its steps taking turns, and write it."""
    torch.set_num_threads(1)  # what other cores do disturbs a single thread least
    torch.manual_seed(0)
    group = GROUPS[name]
    model = group.model()
    ids = torch.randint(model.config.vocab_size, (1, LENGTH))
    labels = ids.clone()
    labels[:, : round((1 - group.supervised) * LENGTH)] = -100
    steps = [Method("dense"), *(row.method for row in group.rows)]
    batch = {"input_ids": ids, "labels": labels}
    dense, *costs = compare_steps(model, batch, steps, repeats=repeats)
    record = {
        "model": "SmolLM2-135M-Instruct, dequantised from 4 bits to float32",
        "adapter": group.adapter,
        "batch": [1, LENGTH],
        "supervised_share": group.supervised,
        "dense": dense.summary(),
        "steps": [cost.summary() | {"shares_of_dense": shares(cost, dense)} for cost in costs],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "repeats": repeats,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path_of(name).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def shares(cost: StepCost, dense: StepCost) -> dict[str, float]:
    """A step's figures as shares of the dense one's."""
    figures = ("saved_bytes", "working_bytes", "cpu_seconds")
    return {name: round(getattr(cost, name) / getattr(dense, name), 4) for name in figures} | {
        "kept_bytes": round(cost.kept_bytes / dense.saved_bytes, 4)
    }


def recorded() -> dict[str, dict[str, Any]]:
    """The groups that are on disk."""
    return {
        name: json.loads(path_of(name).read_text(encoding="utf-8"))
        for name in GROUPS
        if path_of(name).exists()
    }


def table(
    records: Mapping[str, dict[str, Any]], rows: Mapping[str, Sequence[int]] | None = None
) -> str:
    """The Markdown table of all recorded steps, or of some rows of some groups."""
    lines = [
        "| carry the loss | step | saved for backward | working memory | time |",
        "|---|---|---|---|---|",
    ]
    for name, record in records.items():
        supervised = f"{100 * GROUPS[name].supervised:.0f} %"
        steps = record["steps"]
        for step in steps if rows is None else [steps[row] for row in rows.get(name, ())]:
            share = step["shares_of_dense"]
            saved = _percent(share["saved_bytes"])
            if share["kept_bytes"] and "+ checkpointing" in step["method"]:
                saved += f" + {_percent(share['kept_bytes'])} keys and values"
            figures = [saved, _percent(share["working_bytes"]), _percent(share["cpu_seconds"])]
            label = GROUPS[name].label(step["method"])
            lines.append("| " + " | ".join([supervised, label, *figures]) + " |")
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def with_tables(text: str) -> str:
    """A page with the tables that it has marks for."""
    records = recorded()
    for mark, made in (
        ("costs", table(records)),
        ("costs in short", table(records, IN_SHORT)),
    ):
        begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
        if begin in text:
            before, rest = text.split(begin)
            text = f"{before}{begin}\n{made}\n{end}{rest.split(end)[1]}"
    return text


def write_tables() -> None:
    """Make the tables of all pages anew."""
    for path in PAGES:
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


def above_limits(records: Mapping[str, dict[str, Any]]) -> list[str]:
    """A sentence for each share that is above its limit."""
    found = []
    for group, record in records.items():
        for row, step in zip(GROUPS[group].rows, record["steps"], strict=True):
            share = step["shares_of_dense"]
            figures = (share["saved_bytes"], share["working_bytes"], share["cpu_seconds"])
            for name, value, limit in zip(
                ("saved for backward", "working memory", "time"), figures, row.limits, strict=True
            ):
                if value > limit:
                    label = GROUPS[group].label(row.method.name)
                    found.append(f"{label}: {name} {value:.1%} is above {limit:.0%}")
    return found


def main() -> int:
    """Measure what is missing, write the tables, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure every group anew")
    parser.add_argument("--repeats", type=int, default=3, help="timed steps; the shortest counts")
    arguments = parser.parse_args()
    done = {} if arguments.again else recorded()
    for name in GROUPS:
        if name not in done:
            measure(name, arguments.repeats)
    records = recorded()
    write_tables()
    sys.stdout.write(table(records) + "\n")
    failures = above_limits(records)
    for failure in failures:
        sys.stderr.write(f"error: {failure}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

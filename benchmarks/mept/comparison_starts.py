"""What prompts do to a decoder before anything is learnt, by how they start.

Measured on questions of TREC of twelve tokens or more, as plain text: the loss of their tokens from
the fifth on, and how much of the attention of those, averaged over layers and heads, rests on the
rows in front.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import asdict, dataclass
from typing import Any, get_args

import torch
import torch.nn.functional as F
from comparison_methods import adapted, routed
from comparison_models import SETTINGS, load
from comparison_plan import RESULTS
from comparison_tasks import load_samples
from torch import Tensor

from mept._config import Init
from mept.training._quiet import libraries_quiet

STARTS = RESULTS / "starts.json"
SETTING, TASK = SETTINGS["smollm2"], "trec"
SHAPE = routed(5, 4, 1)
SEEDS = (0, 1, 2)
TEXTS = 32
SKIPPED = 4
"""Tokens of a text that only others are predicted by."""


@dataclass(frozen=True)
class Start:
    """What one start comes to.

    Args:
        loss: Mean over texts, nats a token.
        on_prompts: Share of attention on prompt rows.
        on_first_token: Share of attention on the first token.
    """

    loss: float
    on_prompts: float
    on_first_token: float


def recorded_starts() -> dict[str, list[Start]]:
    """What was measured, by start, a seed each; "none" has no prompts."""
    found = json.loads(STARTS.read_text(encoding="utf-8"))
    return {name: [Start(**start) for start in starts] for name, starts in found.items()}


def texts() -> list[Tensor]:
    """Questions of twelve tokens or more, [1, n] each."""
    _, form = load(SETTING, TASK)
    found: list[Tensor] = []
    for sample in load_samples(TASK, SETTING.tasks[TASK]).dev:
        tokens = form.tokenizer(sample.texts["text"]).input_ids  # type: ignore[attr-defined]
        if len(tokens) >= 12:
            found.append(torch.tensor([tokens]))
    return found[:TEXTS]


def measure(model: Any, tokens: list[Tensor], rows: int) -> Start:
    """Run a model with so many prompt rows on texts."""
    found = [look(model.eval(), text, rows) for text in tokens]
    return Start(*(round(statistics.fmean(values), 4) for values in zip(*found, strict=True)))


def look(model: Any, text: Tensor, rows: int) -> tuple[float, float, float]:
    """Loss, attention on prompt rows and attention on the first token, of one text."""
    scope = {"routing_mask": torch.ones_like(text)} if rows else {}
    with torch.no_grad():
        output = model(input_ids=text, output_attentions=True, **scope)
    logits = output.logits[0, SKIPPED - 1 : -1].float()
    attention = torch.stack(output.attentions)[..., -(text.shape[1] - SKIPPED) :, :]
    return (
        float(F.cross_entropy(logits, text[0, SKIPPED:])),
        float(attention[..., :rows].sum(-1).mean()),
        float(attention[..., rows].mean()),
    )


def base() -> Any:
    """The model, with attention that can be looked at."""
    model, _ = load(SETTING, TASK)
    model.set_attn_implementation("eager")
    return model


def main() -> None:
    """Measure all starts, if that was not done."""
    torch.set_num_threads(1)
    if not STARTS.exists():
        tokens = texts()
        starts: dict[str, list[Start]] = {"none": [measure(base(), tokens, 0)]}
        for init in get_args(Init):
            starts[init] = []
            for seed in SEEDS:
                torch.manual_seed(seed)
                with libraries_quiet():
                    model = adapted(base(), "mept", SHAPE | {"init": init}, SETTING.task_type)
                starts[init].append(measure(model, tokens, SHAPE["rows"]))
        found = {name: [asdict(start) for start in each] for name, each in starts.items()}
        STARTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(STARTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

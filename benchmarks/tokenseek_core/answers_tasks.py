"""Answers behind prompts: texts whose last part is supervised, and made tasks that need reading."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from study_tasks import (
    DATA,
    Batch,
    Instance,
    Task,
    collate,
    drawn_from,
    gsm8k,
    shakespeare,
    smollm2,
    stories260k,
)
from torch import Tensor
from transformers import PreTrainedModel

from tokenseek_core.models._adapters import Adapters, with_adapters

FIRST = 200
"""The first token of the made tasks."""

RANK = 16
"""Of the adapters beside all linear layers of SmolLM2."""


def tail(percent: int) -> Task:
    """Shakespeare, with the last per cent of each instance supervised."""
    task = shakespeare(round(256 * percent / 100))
    return replace(task, name=f"shakespeare-{percent}", steps=200, rates=(2e-3,))


def made(
    name: str,
    instances: Callable[[torch.Generator, int], tuple[Tensor, Tensor]],
    *,
    count: int,
    steps: int,
    rate: float,
) -> Task:
    """stories260K learns a task whose instances are drawn anew at every step.

    Args:
        name: Of the task.
        instances: Draws so many, and says which of their tokens are answers.
        count: Instances of a step.
        steps: That dense training needs.
        rate: Of learning.
    """

    def batch(generator: torch.Generator, count: int = count) -> Batch:
        tokens, answers = instances(generator, count)
        return {"input_ids": FIRST + tokens, "labels": (FIRST + tokens).masked_fill(~answers, -100)}

    test = [batch(torch.Generator().manual_seed(1234), 256)]
    return Task(name, stories260k, batch, dev=[], test=test, steps=steps, rates=(rate,))


def copying(generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Thirty-two random tokens, all different, and the same again."""
    tokens = different(generator, count, 32, of=240)
    return torch.cat([tokens, tokens], 1), (torch.arange(64) >= 32).expand(count, -1)


def lookup(generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Eight pairs of a key and a value, then the keys in another order; the answers are values."""
    keys = different(generator, count, 8, of=64)
    values = 64 + torch.randint(64, (count, 8), generator=generator)
    asked = torch.rand((count, 8), generator=generator).argsort(1)
    pairs = torch.stack([keys, values], 2)
    again = pairs.gather(1, asked[:, :, None].expand(-1, -1, 2))
    is_value = torch.arange(16) % 2 == 1
    answers = torch.cat([torch.zeros(16, dtype=torch.bool), is_value])
    return torch.cat([pairs, again], 1).flatten(1), answers.expand(count, -1)


def counting(generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Thirty-two tokens of four kinds; the answers are how often each kind occurs."""
    kinds = torch.randint(4, (count, 32), generator=generator)
    often = (kinds[:, :, None] == torch.arange(4)).sum(1)
    answers = torch.cat([torch.zeros(32, dtype=torch.bool), torch.ones(4, dtype=torch.bool)])
    return torch.cat([kinds, 64 + often], 1), answers.expand(count, -1)


def different(generator: torch.Generator, count: int, length: int, *, of: int) -> Tensor:
    """Instances of that length out of so many tokens, none twice."""
    return torch.rand((count, of), generator=generator).argsort(1)[:, :length]


def adapted(model: PreTrainedModel) -> PreTrainedModel:
    """SmolLM2 with adapters beside all its linear layers."""
    return with_adapters(model, "smollm2", Adapters(rank=RANK))  # type: ignore[no-any-return]


def worked_examples() -> Task:
    """GSM8K behind two worked examples, about 600 tokens, by LoRA."""
    task = gsm8k(batch=2, held_out=32, examples=2)
    return replace(
        task,
        name="gsm8k",
        model=lambda: adapted(task.model()),
        test=task.dev + task.test,
        steps=40,
        rates=(1e-3,),
    )


def passages() -> Task:
    """BoolQ's passages, behind each a question about it and its answer, by LoRA.

    The question is supervised too: a yes or no alone would be one token an instance.
    """
    model, tokenizer = smollm2()
    texts: dict[str, list[Instance]] = {}
    for line in (DATA / "text/superglue/BoolQ/val.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        prompt = tokenizer(f"{record['passage']}\n\nQuestion:").input_ids
        said = "yes" if record["label"] in (True, "true") else "no"
        answer = tokenizer(f" {record['question']}?\nAnswer: {said}{tokenizer.eos_token}").input_ids
        if len(prompt) + len(answer) <= 256:
            texts.setdefault(record["passage"], []).append((prompt, answer))
    groups = list(texts.values())  # no passage is in both parts
    tested = [instance for group in groups[:64] for instance in group][:64]
    train = [instance for group in groups[64:] for instance in group]
    return Task(
        name="boolq",
        model=lambda: adapted(copy.deepcopy(model)),
        batch=drawn_from(train, 4),
        dev=[],
        test=[collate(tested[start : start + 8]) for start in range(0, 64, 8)],
        steps=60,
        rates=(1e-3,),
    )


TAILS = {f"shakespeare-{percent}": partial(tail, percent) for percent in (6, 12, 25, 50)}
MADE: dict[str, Callable[[], Task]] = {
    name: partial(made, name, instances, count=count, steps=steps, rate=4e-3)
    for name, instances, count, steps in (
        ("copying", copying, 16, 500),
        ("lookup", lookup, 16, 600),
        ("counting", counting, 16, 400),
    )
}
REAL: dict[str, Callable[[], Task]] = {"gsm8k": worked_examples, "boolq": passages}
TASKS: dict[str, Callable[[], Task]] = {**TAILS, **MADE, **REAL}

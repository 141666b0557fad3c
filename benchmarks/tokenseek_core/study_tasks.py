"""What the studies train: a small trained model on Shakespeare, SmolLM2 on word problems."""

from __future__ import annotations

import copy
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tokenseek_core.models import load_pretrained

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TOKENSEEK_DATA_DIR", ROOT.parent / "shared/data"))

TEMPLATE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{question}\n\n### Response:\n"
)

Batch = dict[str, Tensor]

Instance = tuple[list[int], list[int]]
"""Tokens of a prompt, and those of the answer behind it."""


@dataclass(frozen=True)
class Task:
    """What is trained on what, and how long.

    Args:
        name: Folder of its results.
        model: Loads a fresh copy of the pretrained model.
        batch: Draws one training batch.
        dev: Batches that the learning rate is chosen on.
        test: Batches that are reported.
        steps: Optimizer steps of a dense run.
        rates: Learning rates to choose from.
    """

    name: str
    model: Callable[[], PreTrainedModel]
    batch: Callable[[torch.Generator], Batch]
    dev: list[Batch]
    test: list[Batch]
    steps: int
    rates: tuple[float, ...]


def stories260k() -> PreTrainedModel:
    """A trained model of 260,032 parameters."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(DATA / "models/stories260K")
    return model


def shakespeare(supervised: int = 256) -> Task:
    """stories260K, trained on children's stories, moves to Shakespeare: 8 x 256 tokens a step.

    Args:
        supervised: Last tokens of each instance that are.
    """
    (file,) = (DATA / "text/tinyshakespeare").glob("*.txt")
    tokenizer = AutoTokenizer.from_pretrained(DATA / "models/stories260K")
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    blocks = ["".join(lines[start : start + 200]) for start in range(0, len(lines), 200)]
    ids = torch.tensor([i for block in tokenizer(blocks).input_ids for i in block])
    train, dev, test = ids[:-40_000], ids[-40_000:-20_000], ids[-20_000:]

    def batch(generator: torch.Generator) -> Batch:
        starts = torch.randint(len(train) - 256, (8,), generator=generator)
        rows = torch.stack([train[start : start + 256] for start in starts])
        return answered(rows, supervised)

    def held_out(part: Tensor) -> list[Batch]:
        rows = part[: 48 * 256].view(-1, 16, 256)
        return [answered(row, supervised) for row in rows]

    return Task(
        name="shakespeare",
        model=stories260k,
        batch=batch,
        dev=held_out(dev),
        test=held_out(test),
        steps=100,
        rates=(2.5e-4, 5e-4, 1e-3, 2e-3),
    )


def gsm8k(batch: int = 2, held_out: int = 32, examples: int = 0) -> Task:
    """SmolLM2-135M learns to answer word problems: a few instances a step, answers supervised.

    Args:
        batch: Instances of a step.
        held_out: Instances of the test set.
        examples: Problems with their answers in front of each, which are not trained on.
    """
    model, tokenizer = smollm2()

    def instances(split: str, count: int) -> list[Instance]:
        problems = word_problems(split, tokenizer)
        found = list(itertools.islice(problems, count))
        shown = list(itertools.islice(problems, count * examples))
        for i, (prompt, answer) in enumerate(found):
            front = shown[i * examples : (i + 1) * examples]
            found[i] = [token for pair in front for part in pair for token in part] + prompt, answer
        return found

    train, tested = instances("train", 1000), instances("test", held_out)
    in_order = [collate(tested[start : start + 4]) for start in range(0, held_out, 4)]
    return Task(
        name="gsm8k-behind-examples" if examples else "gsm8k",
        model=lambda: copy.deepcopy(model),
        batch=drawn_from(train, batch),
        dev=in_order[:3],
        test=in_order[3:],
        steps=16,
        rates=(2e-5, 5e-5, 1e-4),
    )


def word_problems(split: str, tokenizer: PreTrainedTokenizerBase) -> Iterator[Instance]:
    """Those of GSM8K that are not long, in their order."""
    path = DATA / f"text/gsm8k/{split}.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        prompt = tokenizer(TEMPLATE.format(question=record["question"])).input_ids
        answer = tokenizer(record["answer"] + str(tokenizer.eos_token)).input_ids
        if len(prompt) + len(answer) <= 400:
            yield prompt, answer


def smollm2() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """SmolLM2-135M and its tokenizer; a task trains copies of it."""
    return load_pretrained("smollm2", device=torch.device("cpu"), dtype=torch.float32)


def drawn_from(instances: list[Instance], count: int) -> Callable[[torch.Generator], Batch]:
    """Batches of so many instances."""

    def batch(generator: torch.Generator) -> Batch:
        drawn = torch.randint(len(instances), (count,), generator=generator)
        return collate([instances[i] for i in drawn])

    return batch


def answered(rows: Tensor, supervised: int) -> Batch:
    """Rows of tokens of which the last are supervised."""
    labels = rows.clone()
    labels[:, : rows.shape[1] - supervised] = -100
    return {"input_ids": rows, "labels": labels}


def collate(rows: list[Instance]) -> Batch:
    """Pad instances on the right to the longest; their answers are supervised."""
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    batch = {
        "input_ids": torch.zeros((len(rows), longest), dtype=torch.long),
        "attention_mask": torch.zeros((len(rows), longest), dtype=torch.long),
        "labels": torch.full((len(rows), longest), -100),
    }
    for row, (prompt, answer) in enumerate(rows):
        length = len(prompt) + len(answer)
        batch["input_ids"][row, :length] = torch.tensor(prompt + answer)
        batch["attention_mask"][row, :length] = 1
        batch["labels"][row, len(prompt) : length] = torch.tensor(answer)
    return batch


TASKS: dict[str, Callable[[], Task]] = {"shakespeare": shakespeare, "gsm8k": gsm8k}

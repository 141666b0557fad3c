"""The tasks of the comparison: which samples are learnt, which choose, which are scored."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mept.training._docstrings import DOCSTRINGS, docstring_samples
from tokenseek_common.data import TASKS as KNOWN
from tokenseek_common.data import TaskSample, load_task, stratified_split

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TOKENSEEK_DATA_DIR", ROOT.parent / "shared/data"))
SUPERGLUE, CLASSIFICATION = DATA / "text/superglue", DATA / "text/classification"

TASKS = dict(KNOWN) | {DOCSTRINGS.name: DOCSTRINGS}

SPLIT_SEED = 0
"""One split for all runs: seeds differ in what is drawn from it, and in where weights start."""


@dataclass(frozen=True)
class Source:
    """Where the samples of a task lie, and how long it is trained.

    Args:
        learnt: The file that train and dev are drawn from; None has docstrings of Python.
        test: What is scored; None takes a fifth of the file, by `group`.
        dev: Samples that checkpoints, rates and shapes are chosen by.
        steps: Optimizer steps of every run.
        group: The field that samples of one group share, so that no split parts them.
        tests: Most samples that are scored.
    """

    learnt: Path | None
    test: Path | None
    dev: int
    steps: int
    group: str | None = None
    tests: int | None = None


@dataclass(frozen=True)
class Samples:
    """The samples of one task."""

    train: list[TaskSample]
    dev: list[TaskSample]
    test: list[TaskSample]


MINILM = {
    "trec": Source(CLASSIFICATION / "TREC.train.all", CLASSIFICATION / "TREC.test.all", 250, 240),
    "sst2": Source(
        CLASSIFICATION / "stsa.binary.train",
        CLASSIFICATION / "stsa.binary.test",
        250,
        160,
        tests=900,
    ),
    "rte": Source(
        SUPERGLUE / "RTE/glue_full/train.tsv", SUPERGLUE / "RTE/glue_full/dev.tsv", 150, 80
    ),
    "cb": Source(SUPERGLUE / "CB/train_plus_test.jsonl", SUPERGLUE / "CB/val.jsonl", 100, 80),
    "copa": Source(SUPERGLUE / "COPA/train_full.jsonl", SUPERGLUE / "COPA/val.jsonl", 80, 80),
    # Its training file has 32 rows only, and questions of its other file share passages.
    "boolq": Source(SUPERGLUE / "BoolQ/val.jsonl", None, 150, 80, group="passage"),
}
MIXED = {
    "trec": MINILM["trec"],
    "sst2": MINILM["sst2"],
    "sst5": Source(
        CLASSIFICATION / "stsa.fine.train",
        CLASSIFICATION / "stsa.fine.test",
        250,
        160,
    ),
    "docstrings": Source(None, None, 40, 80),
    "cb": MINILM["cb"],
    "rte": MINILM["rte"],
    "copa": MINILM["copa"],
    "boolq": MINILM["boolq"],
}
"""What one adapter learns: first what the model can learn in so few steps."""

SMOLLM2 = {
    "trec": replace(MINILM["trec"], dev=64, steps=100, tests=200),
    "rte": replace(MINILM["rte"], dev=64, steps=40, tests=120),
}


def load_samples(name: str, source: Source) -> Samples:
    """Read a task and part its samples, always in the same way."""
    if source.learnt is None:
        train, dev = stratified_split(
            docstring_samples("train"), eval_size=source.dev, seed=SPLIT_SEED
        )
        return Samples(train, dev, docstring_samples("validation"))
    learnt = grouped(load_task(TASKS[name], source.learnt), source.group)
    if source.test is None:
        learnt, test = stratified_split(learnt, eval_size=0.2, seed=SPLIT_SEED)
    else:
        test = load_task(TASKS[name], source.test)
    if source.tests is not None:
        _, test = stratified_split(test, eval_size=source.tests, seed=SPLIT_SEED)
    train, dev = stratified_split(learnt, eval_size=source.dev, seed=SPLIT_SEED)
    return Samples(train, dev, test)


def grouped(samples: Sequence[TaskSample], field: str | None) -> list[TaskSample]:
    """Name the group of each sample by one of its texts."""
    return [replace(s, group=s.texts[field]) if field else s for s in samples]


def mixed_samples(tasks: Mapping[str, Source], *, dev: int, tests: int) -> Samples:
    """The samples of several tasks in one: of each so many of dev, and at most so many of test."""
    found = [
        load_samples(task, replace(source, dev=min(dev, source.dev)))
        for task, source in tasks.items()
    ]
    return Samples(
        [sample for each in found for sample in each.train],
        [sample for each in found for sample in each.dev[:dev]],
        [sample for each in found for sample in spread(each.test, tests)],
    )


def spread(samples: Sequence[TaskSample], count: int) -> list[TaskSample]:
    """That many of the samples, evenly spread over them."""
    step = max(1.0, len(samples) / count)
    return [samples[int(place * step)] for place in range(min(count, len(samples)))]

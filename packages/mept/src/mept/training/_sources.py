"""What a command line calls a task, and the samples that it means: to learn, to choose, to test."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mept.training._docstrings import DOCSTRINGS, NAME, docstring_samples
from mept.training._forms import FormName
from tokenseek_common import InputError
from tokenseek_common.data import (
    TASKS,
    Task,
    TaskSample,
    answer_span_task,
    labelled_text_task,
    load_task,
    numbered_text_task,
    stratified_split,
    tagged_words_task,
)

_WITHOUT_LABELS = ("regression", "question-answering")
_HUB = "aps/super_glue"
_HUB_CONFIGS = {"wsc": "wsc.fixed"}  # those that the hub names otherwise


@dataclass(frozen=True)
class OwnTask:
    """How a task that is not known by name is described.

    Args:
        labels: What a model writes for each class, in the order of their indices; none if there is
            no such task.
        text_fields: Which fields of a row are its texts.
        label_field: Which is its label.
        form: How it is asked, which says what its answers are.
    """

    labels: tuple[str, ...] = ()
    text_fields: tuple[str, ...] = ("text",)
    label_field: str = "label"
    form: FormName | None = None

    @property
    def is_described(self) -> bool:
        """Whether its answers are known: labels, or what needs none."""
        return bool(self.labels) or self.form in _WITHOUT_LABELS

    def named(self, name: str) -> Task:
        """The task.

        Raises:
            InputError: It has labels where its form has none, or more texts than its form reads.
        """
        if self.labels and self.form in _WITHOUT_LABELS:
            raise InputError(
                f"labels ({', '.join(self.labels)}) must be left out in form {self.form}; "
                "leave out --labels, or choose another --form"
            )
        match self.form:
            case "question-answering":
                return answer_span_task(name)
            case "regression":
                return numbered_text_task(
                    name, text_fields=self.text_fields, label_field=self.label_field
                )
            case "token-classification":
                if len(self.text_fields) != 1:
                    raise InputError(
                        f"text_fields ({', '.join(self.text_fields)}) must be one in form "
                        f"{self.form}; name the field of the words"
                    )
                (words,) = self.text_fields
                return tagged_words_task(
                    name, self.labels, words_field=words, label_field=self.label_field
                )
            case _:
                return labelled_text_task(
                    name, self.labels, text_fields=self.text_fields, label_field=self.label_field
                )


@dataclass(frozen=True)
class TaskSource:
    """A task and where its samples lie.

    Args:
        task: What is asked.
        train: A file, a folder or a hub id; None where the samples are made at run time.
        test: The same for what is scored; None takes the validation split of a folder or the hub,
            and holds samples of a file out.
    """

    task: Task
    train: str | None = None
    test: str | None = None

    @property
    def scored(self) -> str | None:
        """Where what is scored lies, the same from every folder; None if it is made at run time."""
        where = self.test or self.train
        path = Path(where).expanduser() if where is not None else None
        return str(path.resolve()) if path is not None and path.exists() else where

    @property
    def has_splits(self) -> bool:
        """Whether the source holds a split to be scored: a single file does not."""
        return self.train is None or not Path(self.train).expanduser().is_file()


@dataclass(frozen=True)
class TaskSplits:
    """The samples of one task or more.

    Args:
        train: What is learnt.
        dev: What the checkpoint is chosen by.
        test: What is scored once, in the end.
    """

    train: list[TaskSample]
    dev: list[TaskSample]
    test: list[TaskSample]

    @property
    def tasks(self) -> list[Task]:
        """What is asked, in order."""
        return list({sample.task.name: sample.task for sample in self.train}.values())

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many samples of each task every part has."""
        return {
            part: dict(Counter(sample.task.name for sample in samples))
            for part, samples in vars(self).items()
        }

    @property
    def fingerprints(self) -> dict[str, dict[str, str]]:
        """Names of the parts of each task by their content: a file may change under its name."""
        return {
            name: {
                task.name: _fingerprint([sample for sample in part if sample.task == task])
                for task in self.tasks
            }
            for name, part in vars(self).items()
        }


@dataclass(frozen=True)
class Scored:
    """The samples of a task that an adapter is asked, and what they are of its source.

    Args:
        samples: All with labels.
        part: Which split, or what of a file.
    """

    samples: list[TaskSample]
    part: str


def find_sources(
    specs: Sequence[str], own: OwnTask, *, known: Mapping[str, Task] | None = None
) -> list[TaskSource]:
    """Read ``NAME``, ``NAME=SOURCE`` or ``NAME=TRAIN,TEST``, each of another task.

    Args:
        specs: As the command line gives them; none is the set that is built at run time.
        own: How a task of another name is described.
        known: Tasks that come before those of `tokenseek_common.data`, by name.

    Returns:
        The tasks and their sources, in order.

    Raises:
        InputError: A task is unknown, named twice, or has no source.

    Example:
        >>> find_sources(["boolq", "cb=SuperGLUE"], OwnTask())[1].train
        'SuperGLUE'
    """
    found = {DOCSTRINGS.name: DOCSTRINGS} | dict(TASKS) | dict(known or {})
    sources = [_source(spec, own, found) for spec in specs or [NAME]]
    names = [source.task.name for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"task ({twice}) must be given once; join its files, or name it once as TRAIN,TEST"
        )
    if own.labels and all(name in found for name in names):
        raise InputError(
            f"labels ({', '.join(own.labels)}) must be those of a task of your own, and "
            f"{', '.join(names)} has its labels; leave out --labels, or rename the task"
        )
    return sources


def load_splits(
    sources: Sequence[TaskSource],
    *,
    dev_size: float,
    test_size: float,
    limit: int | None,
    seed: int,
) -> TaskSplits:
    """Read the samples, and hold some out: of each task and label its share, groups together.

    Args:
        sources: One task or more.
        dev_size: Share of the samples to learn from that the checkpoint is chosen by instead.
        test_size: Share of a single file that is scored in the end.
        limit: Read at most this many samples of each split.
        seed: Decides which are held out.

    Raises:
        InputError: A source cannot be read, is too small, or holds samples without a label.
    """
    parts: tuple[list[TaskSample], ...] = ([], [], [])
    for source in sources:
        learnt, test = _learnt_and_test(source, test_size=test_size, limit=limit, seed=seed)
        train, dev = _parted(source.task, learnt, "dev_size", dev_size, seed)
        for part, samples in zip(parts, (train, dev, test), strict=True):
            part.extend(samples)
    return TaskSplits(*parts)


def load_scored(
    source: TaskSource, run: Mapping[str, Any] | None, *, split: str, limit: int | None
) -> Scored:
    """Read the samples of one split; of a file that a run learnt, those that it held out.

    Args:
        source: A task and where its samples lie.
        run: The record of the run that an adapter comes from; None where it has none.
        split: Which split of a folder or the hub; a file has none.
        limit: Take at most this many samples.

    Raises:
        InputError: The source cannot be read, or holds samples without a label.
    """
    if source.has_splits:
        return Scored(_split(source, split=split, limit=limit), split)
    held_out = None if run is None else _held_out(source, run)
    if held_out is not None:
        return Scored(held_out[:limit], "held out by the run")
    return Scored(_split(source, split=None, limit=limit), "every row of the file")


def _held_out(source: TaskSource, run: Mapping[str, Any]) -> list[TaskSample] | None:
    """What a run scored of a file; None if it did not score samples of this file as it is now."""
    options = run["options"]
    samples = _split(source, split=None, limit=options["limit"])
    tried = [samples]  # the file itself, where it was named as TRAIN,TEST
    with suppress(InputError):
        share, seed = options["test_size"], options["seed"]
        tried.append(_parted(source.task, samples, "test_size", share, seed)[1])
    recorded = run["samples"]["test"].get(source.task.name)
    return next((part for part in tried if _fingerprint(part) == recorded), None)


def _source(spec: str, own: OwnTask, known: Mapping[str, Task]) -> TaskSource:
    name, _, where = spec.partition("=")
    task = known.get(name) or known.get(name.lower())
    if task is None:
        if not name or not own.is_described:
            raise InputError(
                f"task ({name}) must be one of {', '.join(known)}; choose one of them, or describe "
                "your own by --labels"
            )
        task = own.named(name)
    if where:
        train, _, test = (where, "", "") if Path(where).exists() else where.partition(",")
        learnt, scored = (Path(given).expanduser().resolve() for given in (train, test))
        if learnt == scored and learnt.is_file():
            raise InputError(
                f"task ({name}) must be scored on other samples than it learns, and {test} is "
                "given for both; name another file, or this one alone to hold samples out"
            )
        return TaskSource(task, train, test or None)
    if task == DOCSTRINGS:
        return TaskSource(task)
    if task.name in TASKS and task.folder:
        return TaskSource(task, f"{_HUB}:{_HUB_CONFIGS.get(task.name, task.name)}")
    raise InputError(
        f"task ({name}) must be given with its samples; write {name}=FILE, or a folder or hub id"
    )


def _learnt_and_test(
    source: TaskSource, *, test_size: float, limit: int | None, seed: int
) -> tuple[list[TaskSample], list[TaskSample]]:
    learnt = _split(source, split="train", limit=limit)
    if source.test is not None:
        scored = replace(source, train=source.test)
        return learnt, _split(scored, split="validation", limit=limit)
    if source.has_splits:
        return learnt, _split(source, split="validation", limit=limit)
    return _parted(source.task, learnt, "test_size", test_size, seed)


def _split(source: TaskSource, *, split: str | None, limit: int | None) -> list[TaskSample]:
    """The samples of a split, or of a file, all with labels."""
    if source.train is None:
        return docstring_samples(split or "train")[:limit]
    asked = split if source.has_splits else None
    samples = load_task(source.task, source.train, split=asked, limit=limit)
    unknown = sum(sample.label is None for sample in samples)
    if unknown and (source.task.labels or not all(sample.answers for sample in samples)):
        raise InputError(
            f"source ({source.train}) must have the right answer of every {source.task.name} "
            f"sample, and {unknown} of {len(samples)} lack it; choose another split or file"
        )
    return samples


def _parted(
    task: Task, samples: Sequence[TaskSample], option: str, share: float, seed: int
) -> tuple[list[TaskSample], list[TaskSample]]:
    """Hold a share out, and name the option that says how much, where nothing would be left."""
    try:
        return stratified_split(samples, eval_size=share, seed=seed)
    except InputError as error:
        raise InputError(
            f"{option} ({share:g}) must leave samples of {task.name} on both sides, and there are "
            f"{len(samples)}; choose another --{option.replace('_', '-')}, or give more"
        ) from error


def _fingerprint(samples: Sequence[TaskSample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        content = [sample.task.name, *sample.texts.values(), *sample.choices, *sample.answers]
        digest.update(json.dumps(content).encode())
    return digest.hexdigest()

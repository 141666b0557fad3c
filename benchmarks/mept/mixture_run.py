"""One run of the study of mixtures: tasks at once, one after the other, or with few samples."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from comparison_methods import HEAD_RATE, HEADS, adapted, sizes
from comparison_run import BATCH, CLIP, WEIGHT_DECAY, batches, computing, warm_linear
from comparison_tasks import MIXED, TASKS, Samples, load_samples, mixed_samples, spread
from mixture_methods import METHODS, Tuned
from routing_run import FIT_ROWS, IN_USE, TEMPERATURE, rounded
from torch import Tensor, nn

from mept import fit_routers, record_routing
from mept.inspect import expert_load, group_load, mutual_information
from mept.training import Asked, ChoiceForm, load_base, load_config
from mept.training._classification import ClassificationForm, outputs_of
from mept.training._forms import Row
from mept.training._quiet import libraries_quiet
from tokenseek_common.data import TaskSample, mix_samples, score_predictions

MIXTURE_STEPS, STREAM_STEPS, FEW_STEPS = 480, 120, 60
DEV, TESTS, STREAM_TESTS = 40, 200, 200
MAX_LENGTH = 64
STREAM = ("trec", "sst2", "docstrings")
"""The tasks that arrive one after the other: those that the model can learn."""

FEW_SHOT = ("trec", "sst2")


@dataclass(frozen=True)
class Cell:
    """A run, by what decides it.

    Args:
        kind: "mixture", "stream", or the task of which few samples are learnt.
        method: A key of `METHODS`.
        rate: Learning rate of what the method adds.
        seed: Of weights, batches, and of the order of tasks.
        shots: Samples of each class; 0 has all.
        head_rate: Learning rate of the head; of a head alone, `rate` is.
    """

    kind: str
    method: str
    rate: float
    seed: int
    shots: int = 0
    head_rate: float = HEAD_RATE

    @property
    def group(self) -> str:
        """The file of its record."""
        return "few-shot" if self.shots else self.kind

    @property
    def name(self) -> str:
        """What it is called there."""
        shots = [self.kind, str(self.shots)] if self.shots else []
        head = [f"head{self.head_rate:g}"] if self.head_rate != HEAD_RATE else []
        return "_".join([*shots, self.method, f"{self.rate:g}", *head, str(self.seed)])

    @property
    def tuned(self) -> Tuned:
        """How it is tuned."""
        return METHODS[self.method]


class NumberedForm(ClassificationForm):
    """Rows that tell their task by its number, as multitask prompt tuning asks."""

    def train_rows(self, sample: TaskSample) -> list[Row]:
        """A row to learn."""
        return self._numbered(sample, super().train_rows(sample))

    def choice_rows(self, sample: TaskSample) -> list[Row]:
        """A row to be asked."""
        return self._numbered(sample, super().choice_rows(sample))

    def _numbered(self, sample: TaskSample, rows: list[Row]) -> list[Row]:
        return [row | {"task_ids": list(MIXED).index(sample.task.name)} for row in rows]


class Learner:
    """Trains one adapter.

    Args:
        cell: What is run.
        tasks: What the head is for.
    """

    def __init__(self, cell: Cell, tasks: Iterable[str]) -> None:
        torch.set_num_threads(1)
        found = [TASKS[name] for name in tasks]
        asked = Asked.choose(load_config("minilm"), found, form=None, max_length=MAX_LENGTH, rows=0)
        torch.manual_seed(0)  # one head for all
        with libraries_quiet():
            base = load_base("minilm", asked, device=torch.device("cpu"), dtype=torch.float32)
            torch.manual_seed(cell.seed)
            tuned = cell.tuned
            self.model = adapted(base.model, tuned.method, tuned.shape, "SEQ_CLS")
        assert isinstance(base.form, ChoiceForm)
        self.cell, self.form = cell, base.form
        if tuned.method == "multitask":
            self.form = NumberedForm(
                base.tokenizer, found, max_length=MAX_LENGTH, prefixed=asked.prefixed
            )
        self.trained = {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    def rows(self, samples: list[TaskSample], size: int) -> list[Row]:
        """So many rows to learn, tasks drawn by the root of their size."""
        drawn = mix_samples(samples, temperature=TEMPERATURE, size=size, seed=self.cell.seed)
        found = []
        for place, sample in enumerate(drawn):
            own = self.form.train_rows(sample)
            found.append(own[place % len(own)])
        return found

    def fit(self, rows: list[Row]) -> None:
        """Put the rows of cosine routers at centroids of what they read."""
        if self.cell.tuned.shape.get("kind") == "cosine":
            parts = [rows[i : i + BATCH] for i in range(0, min(FIT_ROWS, len(rows)), BATCH)]
            with computing():
                fit_routers(self.model, map(self.form.collator, parts), seed=self.cell.seed)

    def train(
        self,
        rows: list[Row],
        steps: int,
        *,
        outputs: slice | None = None,
        after: Callable[[int], None] = lambda step: None,
    ) -> None:
        """Run steps.

        Args:
            rows: What is learnt.
            steps: How many.
            outputs: The outputs of the head among which the right one is told; None is all.
            after: Called after each step.
        """
        groups: dict[bool, list[Tensor]] = {}
        for name, parameter in self.trained.items():
            groups.setdefault(any(head in name.split(".") for head in HEADS), []).append(parameter)
        rates = {True: self.cell.head_rate, False: self.cell.rate}
        if self.cell.tuned.method == "probe":
            rates[True] = self.cell.rate
        optimizer = torch.optim.AdamW(
            [{"params": found, "lr": rates[head]} for head, found in groups.items()],
            weight_decay=WEIGHT_DECAY,
        )
        schedule = warm_linear(optimizer, steps)
        for step, part in enumerate(batches(rows, steps, self.cell.seed), start=1):
            self.model.train()
            batch = self.form.collator(part)
            labels = batch.pop("labels")
            with computing():
                logits = self.model(**batch).logits
            own = outputs or slice(0, logits.shape[1])
            F.cross_entropy(logits[:, own].float(), labels - own.start).backward()
            nn.utils.clip_grad_norm_(self.trained.values(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            after(step)

    def choose(self, samples: list[TaskSample]) -> list[int]:
        """Answer samples."""
        with computing():
            return self.form.choose(self.model, self.form.questions(samples), batch_size=4 * BATCH)

    def scores(self, samples: list[TaskSample]) -> dict[str, float]:
        """The score of each task."""
        return scored(samples, self.choose(samples))

    def weights(self) -> dict[str, Tensor]:
        """What is trained, as it is now."""
        return {name: p.detach().clone() for name, p in self.trained.items()}

    def put(self, weights: dict[str, Tensor]) -> None:
        """Put back what was."""
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(weights[name])

    def sizes(self) -> dict[str, int]:
        """How many numbers it learns, heads apart."""
        found = sizes(self.model.config, self.cell.tuned.method, self.cell.tuned.shape)
        return asdict(found)


def scored(samples: list[TaskSample], choices: list[int]) -> dict[str, float]:
    """The score of each task, four digits of it."""
    found = score_predictions(samples, choices)
    return {task: round(each["score"], 4) for task, each in found.items()}


@cache
def samples_of(tasks: tuple[str, ...], tests: int) -> Samples:
    """All samples of some tasks."""
    return mixed_samples({name: MIXED[name] for name in tasks}, dev=DEV, tests=tests)


def task_facts() -> dict[str, dict[str, float]]:
    """Of each task how many samples the mixture scores, and the share of the commonest label."""
    test = samples_of(tuple(MIXED), TESTS).test
    labels = {task: [s.label for s in of_task(test, task)] for task in MIXED}
    return {
        task: {
            "samples": len(own),
            "majority": round(Counter(own).most_common(1)[0][1] / len(own), 4),
        }
        for task, own in labels.items()
    }


def of_task(samples: list[TaskSample], task: str) -> list[TaskSample]:
    """Those of one task."""
    return [sample for sample in samples if sample.task.name == task]


def run(cell: Cell) -> dict[str, Any]:
    """Run one cell, and say what it came to."""
    begin = time.process_time()
    kinds = {"mixture": run_mixture, "stream": run_stream}
    found = kinds.get(cell.kind, run_few)(cell)
    seconds = round(time.process_time() - begin, 1)
    return {**asdict(cell), **found, "seconds": seconds, "torch": torch.__version__}


def run_mixture(cell: Cell) -> dict[str, Any]:
    """One adapter on all tasks at once; of two steps the one that dev finds better."""
    learner, samples = Learner(cell, MIXED), samples_of(tuple(MIXED), TESTS)
    rows = learner.rows(samples.train, MIXTURE_STEPS * BATCH)
    learner.fit(rows)
    kept: list[tuple[float, int, dict[str, Tensor]]] = []

    def after(step: int) -> None:
        if step in (2 * MIXTURE_STEPS // 3, MIXTURE_STEPS):
            dev = statistics.fmean(learner.scores(samples.dev).values())
            kept.append((dev, step, learner.weights()))

    learner.train(rows, MIXTURE_STEPS, after=after)
    dev, step, weights = max(kept, key=lambda each: each[0])
    learner.put(weights)
    choices, routing = routed_choices(learner, samples.test)
    right = [float(c == s.label) for c, s in zip(choices, samples.test, strict=True)]
    accuracy = {
        task: round(
            statistics.fmean(
                r for r, s in zip(right, samples.test, strict=True) if s.task.name == task
            ),
            4,
        )
        for task in MIXED
    }
    return {
        **learner.sizes(),
        "dev_score": round(dev, 4),
        "chosen_step": step,
        "test": scored(samples.test, choices),
        "accuracy": accuracy,
        **routing,
    }


def routed_choices(
    learner: Learner, samples: list[TaskSample]
) -> tuple[list[int], dict[str, list[float]]]:
    """Answers, and what routers made of the samples: experts in use, and nats of the task."""
    if learner.cell.tuned.method != "mept":
        return learner.choose(samples), {}
    with record_routing(learner.model) as record:
        choices = learner.choose(samples)
    # Batches are of like length, the longest first; the record is in their order.
    order = sorted(
        range(len(samples)),
        key=lambda place: -len(learner.form.choice_rows(samples[place])[0]["input_ids"]),
    )
    names = list({s.task.name: None for s in samples})
    groups = torch.tensor([names.index(samples[place].task.name) for place in order])
    experts = learner.cell.tuned.shape["experts"]
    loads = group_load(record.chosen, groups, experts)
    told = mutual_information(loads, groups.bincount().double())
    in_use = (expert_load(record.chosen, experts) >= IN_USE).sum(1)
    return choices, {"in_use": in_use.tolist(), "nats": rounded(told)}


def run_stream(cell: Cell) -> dict[str, Any]:
    """One adapter on tasks one after the other, nothing repeated; scores of all after each."""
    learner, samples = Learner(cell, STREAM), samples_of(STREAM, STREAM_TESTS)
    generator = torch.Generator().manual_seed(cell.seed)
    order = [STREAM[place] for place in torch.randperm(len(STREAM), generator=generator)]
    ahead = cell.tuned.fitted == "all"
    learner.fit(
        learner.rows(samples.train if ahead else of_task(samples.train, order[0]), FIT_ROWS)
    )
    if ahead:
        freeze_routers(learner)
    found = [TASKS[name] for name in STREAM]
    matrix = []
    for task in order:
        rows = learner.rows(of_task(samples.train, task), STREAM_STEPS * BATCH)
        first, count = outputs_of(TASKS[task], found)
        learner.train(rows, STREAM_STEPS, outputs=slice(first, first + count))
        matrix.append(learner.scores(samples.test))
    dev = learner.scores(samples.dev)
    return {
        **learner.sizes(),
        "order": order,
        "dev_score": round(statistics.fmean(dev.values()), 4),
        "matrix": matrix,
    }


def freeze_routers(learner: Learner) -> None:
    """Leave routers as they were fitted."""
    for name in list(learner.trained):
        if "mept_router" in name:
            learner.trained.pop(name).requires_grad_(False)


def run_few(cell: Cell) -> dict[str, Any]:
    """One adapter on few samples of a task, scored after the last step."""
    learner = Learner(cell, (cell.kind,))
    samples = load_samples(cell.kind, MIXED[cell.kind])
    count = cell.shots * len(TASKS[cell.kind].labels)
    generator = torch.Generator().manual_seed(cell.seed)
    few: list[TaskSample] = []
    for label in range(len(TASKS[cell.kind].labels)):
        own = [sample for sample in samples.train if sample.label == label]
        few += [own[p] for p in torch.randperm(len(own), generator=generator)[: cell.shots]]
    rows = [row for sample in few for row in learner.form.train_rows(sample)]
    learner.fit([rows[p] for p in torch.randperm(len(rows), generator=generator)])
    learner.train(rows, FEW_STEPS)
    test = spread(samples.test, 2 * TESTS)
    return {
        **learner.sizes(),
        "samples": count,
        "dev_score": learner.scores(spread(samples.dev, 100))[cell.kind],
        "test_score": learner.scores(test)[cell.kind],
    }

"""One run of the comparison: train a method on a task, choose the step on dev, score it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from comparison_methods import HEADS, Shape, adapted, sizes
from comparison_models import SETTINGS, load
from comparison_tasks import load_samples
from torch import Tensor, nn

from mept import record_routing
from mept.inspect import expert_load
from mept.training import ChoiceForm, Questions
from mept.training._forms import Row
from mept.training._quiet import libraries_quiet
from tokenseek_common.data import score_predictions

BATCH = 8
WINDOW = 8
"""Batches that are drawn at a time, and filled by length."""

DEV_SCORES = 3
"""Times that a run scores its dev samples."""

WARM_UP = 0.06
WEIGHT_DECAY = 0.01
CLIP = 1.0


@dataclass(frozen=True)
class Cell:
    """A run, by what decides it.

    Args:
        setting: Which model, by name.
        task: What it learns.
        method: How it is tuned.
        shape: The sizes of the method.
        rate: Learning rate of what the method adds.
        head_rate: Learning rate of the head, if there is one.
        seed: Of weights and batches.
    """

    setting: str
    task: str
    method: str
    shape: Shape
    rate: float
    head_rate: float
    seed: int

    @property
    def name(self) -> str:
        """What its file is called."""
        sized = "-".join(f"{key}{value}" for key, value in self.shape.items())
        parts = (self.method, sized, f"{self.rate:g}", str(self.seed))
        return "_".join(part for part in parts if part)


def run(cell: Cell) -> dict[str, Any]:
    """Train and score one cell."""
    torch.set_num_threads(1)  # one a process; processes run side by side
    setting = SETTINGS[cell.setting]
    encoded = encode(cell.setting, cell.task)
    torch.manual_seed(cell.seed)
    model, form = load(setting, cell.task)
    with libraries_quiet():
        learner = Learner(cell, adapted(model, cell.method, cell.shape, setting.task_type), form)
        begin = time.process_time()
        curve = learner.train(encoded.train, encoded.dev)
        trained = time.process_time() - begin
        choices, used = learner.answer(encoded.test)
    best = max(curve, key=lambda at: at["score"])  # the first of the best
    return {
        **asdict(cell),
        **asdict(sizes(learner.model.config, cell.method, cell.shape)),
        "trainable": sum(p.numel() for p in learner.trained.values()),
        "steps": setting.tasks[cell.task].steps,
        "dev": curve,
        "chosen_step": best["step"],
        "dev_score": best["score"],
        "test": score_predictions(encoded.test.samples, choices)[cell.task],
        "experts_used": used,
        "choices": "".join(map(str, choices)),
        "answers": "".join(str(sample.label) for sample in encoded.test.samples),
        "training_seconds": round(trained, 1),
        "torch": torch.__version__,
    }


@dataclass(frozen=True)
class Encoded:
    """What all methods learn, choose by and are scored on."""

    train: list[Row]
    dev: Questions
    test: Questions


@cache
def encode(setting: str, task: str) -> Encoded:
    """Read and encode a task, once a process."""
    samples = load_samples(task, SETTINGS[setting].tasks[task])
    _, form = load(SETTINGS[setting], task)
    train = [row for sample in samples.train for row in form.train_rows(sample)]
    return Encoded(train, form.questions(samples.dev), form.questions(samples.test))


class Learner:
    """Trains one model, and keeps the weights that scored best.

    Args:
        cell: What is run.
        model: The model with what is trained.
        form: How it is asked.
    """

    def __init__(self, cell: Cell, model: Any, form: ChoiceForm) -> None:
        self.cell = cell
        self.model = model
        self.form = form
        self.steps = SETTINGS[cell.setting].tasks[cell.task].steps
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}

    def train(self, rows: list[Row], dev: Questions) -> list[dict[str, float]]:
        """Run all steps, leave the model with its best weights, and give the scores of dev."""
        optimizer = self.optimizer()
        schedule = warm_linear(optimizer, self.steps)
        best: dict[str, Tensor] = {}
        curve: list[dict[str, float]] = []
        self.model.train()
        for step, batch in enumerate(batches(rows, self.steps, self.cell.seed), start=1):
            with computing():
                loss = self.model(**self.form.collator(batch)).loss
            loss.backward()
            nn.utils.clip_grad_norm_(self.trained.values(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            if step in self.stops():
                score = self.score(dev)
                if not curve or score > max(at["score"] for at in curve):
                    best = {name: p.detach().clone() for name, p in self.trained.items()}
                curve.append({"step": step, "score": score, "loss": float(loss.detach())})
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(best[name])
        return curve

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW, with a rate of its own for the head, and where asked for for routers."""
        rates = {"head": self.cell.head_rate, "router": self.cell.rate, "rest": self.cell.rate}
        rates["router"] /= self.cell.shape.get("router", 1)
        groups: dict[str, list[Tensor]] = {part: [] for part in rates}
        for name, parameter in self.trained.items():
            parts = name.split(".")
            is_head = any(head in parts for head in HEADS)
            part = "head" if is_head else "router" if "mept_router" in parts else "rest"
            groups[part].append(parameter)
        found = [{"params": groups[part], "lr": rates[part]} for part in rates if groups[part]]
        return torch.optim.AdamW(found, weight_decay=WEIGHT_DECAY)

    def stops(self) -> set[int]:
        """The steps at which dev is scored, the last among them."""
        return {self.steps * part // DEV_SCORES for part in range(1, DEV_SCORES + 1)}

    def choose(self, questions: Questions) -> list[int]:
        """Answer questions."""
        with computing():
            return self.form.choose(self.model, questions, batch_size=4 * BATCH)

    def answer(self, questions: Questions) -> tuple[list[int], list[int] | None]:
        """Answer questions, and count the experts of each layer that one in a hundred was given."""
        if self.cell.method != "mept":
            return self.choose(questions), None
        with record_routing(self.model) as record:
            choices = self.choose(questions)
        load = expert_load(record.chosen, record.probabilities.shape[-1])  # [l, e]
        return choices, (load >= 0.01).sum(1).tolist()

    def score(self, questions: Questions) -> float:
        """How well they are answered, by the metrics of the task."""
        return score_predictions(questions.samples, self.choose(questions))[self.cell.task]["score"]


def warm_linear(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Rates that rise for 6 % of the steps, then fall to nothing."""
    warm = math.ceil(WARM_UP * steps)
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / (steps - warm + 1))
    )


def computing() -> torch.autocast:
    """Matrices in bfloat16, weights in float32."""
    return torch.autocast("cpu", torch.bfloat16)


def batches(rows: list[Row], steps: int, seed: int) -> Iterator[list[Row]]:
    """Batches in an order that the seed decides, each of rows of like length."""
    generator = torch.Generator().manual_seed(seed)
    drawn: list[int] = []
    waiting: list[list[int]] = []
    for _ in range(steps):
        if not waiting:
            while len(drawn) < BATCH * WINDOW:
                drawn += torch.randperm(len(rows), generator=generator).tolist()
            window, drawn = drawn[: BATCH * WINDOW], drawn[BATCH * WINDOW :]
            window.sort(key=lambda place: len(rows[place]["input_ids"]))
            parts = [window[start : start + BATCH] for start in range(0, len(window), BATCH)]
            order = torch.randperm(len(parts), generator=generator).tolist()
            waiting = [parts[place] for place in order]
        yield [rows[place] for place in waiting.pop()]

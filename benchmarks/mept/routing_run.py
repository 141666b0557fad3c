"""One run of the study of routers: one adapter on a mixture of tasks, and what its routers do."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from comparison_methods import HEAD_RATE, HEADS
from comparison_models import smollm2
from comparison_run import BATCH, CLIP, WEIGHT_DECAY, batches, computing, warm_linear
from comparison_tasks import MINILM, SMOLLM2, Samples, Source, mixed_samples, spread
from peft import get_peft_model
from routing_variants import ROUTERS, VARIANTS, Router, vary
from torch import Tensor, nn

from mept import MeptConfig, fit_routers, record_routing
from mept._initial import row_length
from mept._kmeans import spherical_kmeans
from mept._layer import PromptedBlock
from mept.inspect import entropy, expert_load, group_load, mutual_information
from mept.training import Asked, ChoiceForm, load_base, load_config
from mept.training._forms import Row
from mept.training._quiet import libraries_quiet
from tokenseek_common.data import TASKS, TaskSample, mix_samples, score_predictions

TEMPERATURE = 2.0
"""Tasks are drawn by the root of their size."""

FIT_ROWS = 256
"""Inputs that k-means reads."""

SHOWN = 48
"""Dev samples that routers are watched on while they learn."""

IN_USE = 0.05
"""The share of the choices from which on an expert counts as used."""


@dataclass(frozen=True)
class Mixture:
    """A model, and the tasks that it learns at once.

    Args:
        tasks: By name.
        steps: Optimizer steps.
        stops: Steps before which routers are watched.
        dev: Samples of each task that steps and rates are chosen by.
        tests: Most samples of each task that are scored.
        rates: Learning rates to choose from.
        settings: Of the prompts.
    """

    tasks: dict[str, Source]
    steps: int
    stops: tuple[int, ...]
    dev: int
    tests: int
    rates: tuple[float, ...]
    settings: dict[str, Any]


PROMPTS = {"num_virtual_tokens": 5, "num_experts": 8, "top_k": 2}
MIXTURES = {
    "minilm": Mixture(MINILM, 300, (0, 1, 10, 30, 100, 200), 40, 200, (5e-3, 1.5e-2), PROMPTS),
    "smollm2": Mixture(
        SMOLLM2, 100, (0, 1, 10, 30, 60), 32, 100, (1e-1,), PROMPTS | {"init": "hidden"}
    ),
}


@dataclass(frozen=True)
class Cell:
    """A run, by what decides it.

    Args:
        mixture: Which model, by name.
        router: How it routes, by name.
        rate: Learning rate of the prompts.
        seed: Of weights and batches.
    """

    mixture: str
    router: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"{self.router}_{self.rate:g}_{self.seed}"


def run(cell: Cell) -> dict[str, Any]:
    """Train one adapter, keep its best step, score it, and say what its routers do."""
    torch.set_num_threads(1)
    mixture, router = MIXTURES[cell.mixture], (ROUTERS | VARIANTS)[cell.router]
    samples = encoded(cell.mixture)
    model, form = load_model(cell.mixture)
    torch.manual_seed(cell.seed)
    with libraries_quiet():
        config = MeptConfig(
            task_type="SEQ_CLS" if cell.mixture == "minilm" else "CAUSAL_LM",
            **mixture.settings | router.settings,
        )
        learner = Learner(cell, router, get_peft_model(model, config), form, samples)
        begin = time.process_time()
        learner.start()
        curve = learner.train()
        trained = time.process_time() - begin
        with record_routing(learner.model) as record:
            record.group = "all"
            choices = learner.choose(samples.test)
    scores = score_predictions(samples.test, choices)
    groups = torch.tensor([list(mixture.tasks).index(s.task.name) for s in samples.test])
    experts = config.num_experts
    load = expert_load(record.chosen, experts)
    loads = group_load(record.chosen, groups, experts)
    best = max(curve, key=lambda at: at["score"])
    return {
        **asdict(cell),
        "steps": mixture.steps,
        "dev": curve,
        "chosen_step": best["step"],
        "dev_score": best["score"],
        "test": {task: scores[task]["score"] for task in mixture.tasks},
        "test_score": statistics.fmean(scores[task]["score"] for task in mixture.tasks),
        "load": rounded(load),
        "in_use": (load >= IN_USE).sum(1).tolist(),
        "mutual_information": rounded(mutual_information(loads, groups.bincount().double())),
        "load_entropy": rounded(entropy(load)),
        "watched": learner.watched,
        "training_seconds": round(trained, 1),
        "torch": torch.__version__,
    }


@cache
def encoded(name: str) -> Samples:
    """The samples of a mixture; of each task as many as it says."""
    mixture = MIXTURES[name]
    return mixed_samples(mixture.tasks, dev=mixture.dev, tests=mixture.tests)


def load_model(name: str) -> tuple[Any, ChoiceForm]:
    """A fresh copy of the model, and how it is asked."""
    if name == "smollm2":
        return smollm2(96)
    tasks = [TASKS[task] for task in MIXTURES[name].tasks]
    asked = Asked.choose(load_config("minilm"), tasks, form=None, max_length=64, rows=0)
    torch.manual_seed(0)  # one head for all
    with libraries_quiet():
        base = load_base("minilm", asked, device=torch.device("cpu"), dtype=torch.float32)
    assert isinstance(base.form, ChoiceForm)
    return base.model, base.form


def rounded(values: Tensor) -> Any:
    """Four digits are enough."""
    return [
        [round(v, 4) for v in row] if isinstance(row, list) else round(row, 4)
        for row in values.tolist()
    ]


class Learner:
    """Trains one model, and keeps the weights that scored best.

    Args:
        cell: What is run.
        router: How it routes.
        model: The model with prompts.
        form: How it is asked.
        samples: What it learns, and is asked.
    """

    def __init__(
        self, cell: Cell, router: Router, model: Any, form: ChoiceForm, samples: Samples
    ) -> None:
        self.cell, self.router, self.model, self.form = cell, router, model, form
        self.mixture, self.samples = MIXTURES[cell.mixture], samples
        self.blocks = [m for m in model.modules() if isinstance(m, PromptedBlock)]
        size = self.mixture.steps * BATCH
        drawn = mix_samples(samples.train, temperature=TEMPERATURE, size=size, seed=cell.seed)
        turn = {id(s): place for place, s in enumerate(drawn)}  # COPA has two rows a sample
        self.rows: list[Row] = []
        for sample in drawn:
            own = form.train_rows(sample)
            self.rows.append(own[turn[id(sample)] % len(own)])
        self.watched: list[dict[str, Any]] = []

    def start(self) -> None:
        """Put routers where they begin."""
        if self.router.fitted:
            parts = [self.rows[i : i + BATCH] for i in range(0, FIT_ROWS, BATCH)]
            with computing():
                fit_routers(self.model, map(self.form.collator, parts), seed=self.cell.seed)
        if not self.router.is_plain:
            for block in self.blocks:
                vary(block, self.router)
        if self.router.features != "method":
            self.change_features()
        for block in self.blocks:
            block.mept_router["default"].data *= self.router.row_length
            if self.router.scale is not None:
                block.mept_router_scale["default"].data.fill_(math.log(self.router.scale))
            if self.router.fixed_scale or self.router.frozen:
                block.mept_router_scale["default"].requires_grad_(False)
            if self.router.frozen:
                block.mept_router["default"].requires_grad_(False)
        self.trained = {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    def change_features(self) -> None:
        """Leave the mean of pooled tokens on, or whiten what is left, and fit the rows anew."""
        with record_routing(self.model) as record, torch.no_grad(), computing():
            self.model.eval()
            for start in range(0, FIT_ROWS, BATCH):
                self.model(**self.form.collator(self.rows[start : start + BATCH]))
        for block, pooled in zip(self.blocks, record.pooled, strict=True):
            mean, row = block.mept_router_mean["default"], block.mept_router["default"]
            if self.router.features == "pooled":
                features = pooled
                mean.zero_()
            else:
                features = pooled - mean
                values, vectors = torch.linalg.eigh(features.T @ features / len(features))
                values = values.clamp(min=1e-2 * float(values.max()))
                whitening = vectors @ torch.diag(values.rsqrt()) @ vectors.T
                vars(block)["route"].whitening = whitening
                features = features @ whitening
            generator = torch.Generator().manual_seed(self.cell.seed)
            centroids = spherical_kmeans(features, len(row), generator=generator)
            row.data.copy_(centroids * row_length(row.shape[1]))

    def train(self) -> list[dict[str, float]]:
        """Run all steps, leave the model with its best weights, and give the scores of dev."""
        optimizer = self.optimizer()
        schedule = warm_linear(optimizer, self.mixture.steps)
        best: dict[str, Tensor] = {}
        biases: list[Tensor] = []
        curve: list[dict[str, float]] = []
        steps = self.mixture.steps
        for step, batch in enumerate(batches(self.rows, steps, self.cell.seed), start=1):
            if step - 1 in self.mixture.stops:
                self.watch(step - 1)
            self.model.train()
            with computing():
                loss = self.model(**self.form.collator(batch)).loss
            loss.backward()
            if step - 1 in self.mixture.stops:
                self.watched[-1]["gradient"] = self.gradients()
            nn.utils.clip_grad_norm_(self.trained.values(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            if step in (2 * steps // 3, steps):
                choices = self.choose(self.samples.dev)
                scores = score_predictions(self.samples.dev, choices)
                score = statistics.fmean(each["score"] for each in scores.values())
                if not curve or score > max(at["score"] for at in curve):
                    best = {name: p.detach().clone() for name, p in self.trained.items()}
                    biases = [vars(b)["route"].bias for b in self.blocks if "route" in vars(b)]
                curve.append({"step": step, "score": score, "loss": float(loss.detach())})
        self.watch(steps)
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(best[name])
        for block, bias in zip(self.blocks, biases, strict=False):
            vars(block)["route"].bias = bias
        return curve

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW, with rates of their own for heads and routers."""
        groups: dict[float, list[Tensor]] = {}
        for name, parameter in self.trained.items():
            parts = name.split(".")
            rate = self.cell.rate
            if any(head in parts for head in HEADS):
                rate = HEAD_RATE
            elif "mept_router" in parts or "mept_router_scale" in parts:
                rate /= self.router.slower
            groups.setdefault(rate, []).append(parameter)
        found = [{"params": params, "lr": rate} for rate, params in groups.items()]
        return torch.optim.AdamW(found, weight_decay=WEIGHT_DECAY)

    def choose(self, samples: list[TaskSample]) -> list[int]:
        """Answer samples."""
        with computing():
            return self.form.choose(self.model, self.form.questions(samples), batch_size=4 * BATCH)

    def watch(self, step: int) -> None:
        """Note what routers make of some dev samples, layer by layer."""
        self.model.eval()
        logits: list[list[Tensor]] = [[] for _ in self.blocks]

        def note(place: int) -> Any:
            return lambda block, args, output: logits[place].append(
                block.current.call.routings[block.name].logits.detach()
            )

        handles = [b.register_forward_hook(note(place)) for place, b in enumerate(self.blocks)]
        with record_routing(self.model) as record:
            self.choose(spread(self.samples.dev, SHOWN))
        for handle in handles:
            handle.remove()
        found = torch.stack([torch.cat(parts) for parts in logits])  # [l, s, e]
        load = expert_load(record.chosen, found.shape[-1])
        directions = record.pooled / record.pooled.norm(dim=-1, keepdim=True)
        scales = [s.exp() for b in self.blocks for s in b.mept_router_scale.values()]
        self.watched.append(
            {
                "step": step,
                "in_use": (load >= IN_USE).sum(1).tolist(),
                # What all samples have in common, and what differs between them.
                "common_spread": rounded(found.mean(1).std(-1, correction=0)),
                "own_spread": rounded(found.std(1).mean(-1)),
                "top_probability": rounded(record.probabilities.amax(-1).mean(1)),
                "scale": [round(float(s.detach()), 3) for s in scales],
                "mean_share": rounded(directions.mean(1).norm(dim=-1).square()),
            }
        )

    def gradients(self) -> dict[str, list[float]]:
        """Norms of the gradient of each layer's router rows and experts."""
        found = {}
        for kind in ("router", "experts"):
            gradients = [getattr(b, f"mept_{kind}")["default"].grad for b in self.blocks]
            norms = [0.0 if g is None else float(g.norm()) for g in gradients]
            found[kind] = [float(f"{norm:.3g}") for norm in norms]
        return found

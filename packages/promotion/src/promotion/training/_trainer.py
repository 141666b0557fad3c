"""The training loop: batches, losses, the average of the weights, checkpoints, a log."""

from __future__ import annotations

import json
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from promotion._losses import losses
from promotion._model import ProMotion
from promotion.datasets import Sample
from promotion.training._average import WeightAverage
from promotion.training._batches import StepBatches, seed_of
from promotion.training._checkpoints import checkpoints, save_checkpoint, step_of
from promotion.training._config import StageConfig, TrainingConfig
from promotion.training._evaluate import evaluate_scenes
from promotion.training._schedule import encoder_rate, rate
from tokenseek_common import RunError
from tokenseek_common.cli import Console

LOG_EVERY = 50
"""Steps whose mean losses are a line of the log."""

MOVING = 0.5
"""Share of the pictures whose depth may use the motion; the others' sees the first frame alone."""


class Trainer:
    """Trains a model as configured, on whatever processes accelerate was started with.

    The folder receives `log.jsonl`, checkpoints (`step-00000500`) and at the end the averaged
    weights (`config.json`, `model.safetensors`). A folder that holds a checkpoint is gone on with.

    Args:
        config: The training.
        folder: Where to write.
        console: Where to tell how it goes.
    """

    def __init__(self, config: TrainingConfig, folder: Path, console: Console) -> None:
        self.config, self.folder, self.console = config, folder, console
        self.accelerator = Accelerator()
        torch.manual_seed(config.seed)
        model = start_model(config)
        early = [model.encoder, model.denoiser, model.learner]
        groups = [parameters_of(*early), parameters_of(model.flow, model.depth)]
        optimizer = torch.optim.AdamW(
            [{"params": group} for group in groups], lr=1.0, weight_decay=config.weight_decay
        )
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.bare: ProMotion = self.accelerator.unwrap_model(self.model)
        self.schedule = LambdaLR(
            self.optimizer.optimizer,
            [lambda step: encoder_rate(config, step), lambda step: rate(config, step)],
        )
        self.average = WeightAverage(self.bare, config.average)
        self.accelerator.register_for_checkpointing(self.schedule, self.average)
        self.step = self._resume()

    def run(self) -> ProMotion:
        """Train to the end.

        Returns:
            The model of averaged weights.

        Raises:
            RunError: The loss is not finite, or the process was asked to end; checkpoints stay.
        """
        batches = self._batches()
        recent: list[dict[str, float]] = []
        self.model.train()
        with (
            asked_to_end() as ending,
            self.console.progress("training", total=self.config.steps) as progress,
        ):
            progress.advance(self.step)
            while self.step < self.config.steps:
                recent.append(self._take_step(next(batches)))
                progress.advance(loss=recent[-1]["loss_total"])
                if self.step % LOG_EVERY == 0:
                    self._log(means(recent))
                    recent.clear()
                if self.step % self.config.evaluate_every == 0 or self.step == self.config.steps:
                    self._evaluate()
                if ending or self.step % self.config.save_every == 0:
                    save_checkpoint(self.accelerator, self.folder, self.step)
                if ending:
                    raise RunError(
                        f"training was asked to end at step {self.step} of {self.config.steps}; "
                        f"train in {self.folder} again to go on"
                    )
        model = self.averaged()
        if self.accelerator.is_main_process:
            model.save_pretrained(self.folder)
        return model

    def averaged(self) -> ProMotion:
        """A plain model of the averaged weights, in evaluation mode."""
        weights = self.average.weights()  # of all processes together
        model = ProMotion(self.config.model)
        model.load_state_dict(weights)
        return model.to(self.accelerator.device).eval()

    def _take_step(self, batch: Sample) -> dict[str, float]:
        stage, first = self.config.stage_at(self.step)
        self._freeze(stage, first)
        # What a step draws depends on its number alone, so that a resumed run draws the same.
        torch.manual_seed(seed_of(self.config.seed, self.step, self.accelerator.process_index))
        output = self.model(
            batch.image1,
            batch.image2,
            tasks=stage.tasks,
            iterations=stage.iterations,
            moving=(torch.rand(len(batch.image1)) < MOVING).float().to(batch.image1.device),
        )
        found = losses(output, batch, self.config.loss)
        if not torch.isfinite(found.total):
            raise RunError(
                f"loss ({found.total.item()}) must be finite at step {self.step}; "
                "lower the learning_rate"
            )
        self.accelerator.backward(found.total)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.average.update()
        self.step += 1
        return {
            f"loss_{part.name}": float(getattr(found, part.name).detach()) for part in fields(found)
        }

    def _batches(self) -> Iterator[Sample]:
        """The batches from this step on."""
        loader = DataLoader(
            StepBatches(
                self.config,
                rank=self.accelerator.process_index,
                processes=self.accelerator.num_processes,
            ),
            batch_size=None,
            sampler=range(self.step, self.config.steps),
            num_workers=self.config.workers,
        )
        return (batch.to(self.accelerator.device) for batch in loader)

    def _freeze(self, stage: StageConfig, first: int) -> None:
        """Hold the prototypes still at the begin of a stage that says so."""
        if self.bare.learner is not None and self.config.model.memory:
            frozen = self.step - first < stage.frozen_memory * stage.steps
            self.bare.learner.memory.frozen = frozen

    def _evaluate(self) -> None:
        """Measure the averaged weights on held-out scenes of the stage."""
        stage, _ = self.config.stage_at(self.step - 1)
        model = self.averaged()
        if self.accelerator.is_main_process:
            height, width = max(stage.sizes)
            scenes = replace(stage.scenes, height=height, width=width)
            self._log(evaluate_scenes(model, scenes, self.config.held_out))
        self.accelerator.wait_for_everyone()

    def _log(self, figures: dict[str, float]) -> None:
        if not self.accelerator.is_main_process:
            return
        line: dict[str, Any] = {"step": self.step, "cpu_seconds": round(time.process_time(), 1)}
        if self.bare.learner is not None:
            line["usage_entropy"] = self.bare.learner.memory.usage_entropy()
        line |= {name: float(f"{value:.5g}") for name, value in figures.items()}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def _resume(self) -> int:
        """Go on from the newest whole checkpoint, if there is one."""
        found = checkpoints(self.folder)
        if not found:
            return 0
        self.accelerator.load_state(str(found[-1]))
        return step_of(found[-1])


def start_model(config: TrainingConfig) -> ProMotion:
    """A new model, or the one whose weights are to be trained on."""
    if config.start is None:
        return ProMotion(config.model)
    return ProMotion.from_pretrained(config.start, config=config.model)


def parameters_of(*parts: torch.nn.Module | None) -> list[torch.nn.Parameter]:
    """The parameters of the parts that are there."""
    return [parameter for part in parts if part is not None for parameter in part.parameters()]


def means(recent: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure over some steps."""
    return {name: statistics.fmean(each[name] for each in recent) for name in recent[0]}


@contextmanager
def asked_to_end() -> Iterator[list[int]]:
    """A list that SIGTERM, as machines that are taken away send it, makes true."""
    signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    try:
        yield signals
    finally:
        signal.signal(signal.SIGTERM, before)

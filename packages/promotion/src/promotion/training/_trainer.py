"""The training loop: batches, losses, the average of the weights, checkpoints, a log."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from promotion._losses import Losses, losses
from promotion._model import ProMotion
from promotion.datasets import Sample
from promotion.training._average import WeightAverage
from promotion.training._batches import StepBatches, seed_of
from promotion.training._checkpoints import (
    checkpoints,
    load_checkpoint,
    save_checkpoint,
    step_of,
)
from promotion.training._config import PARTS, StageConfig, TrainingConfig
from promotion.training._evaluate import evaluate_folder, evaluate_scenes
from promotion.training._log import TrainingLog
from promotion.training._processes import start_processes
from promotion.training._schedule import encoder_rate, rate
from promotion.training._start import (
    begin_moments,
    leaves_unused,
    patterns_of,
    start_model,
    start_optimizer,
    unused_in,
    widen_scalars,
)
from tokenseek_common import InputError, RunError
from tokenseek_common.cli import Console
from tokenseek_common.training import Processes, asked_to_end, ended, saving
from tokenseek_common.tuning import (
    MovementCheck,
    MovementReport,
    count_parameters,
    freeze,
    unfreeze,
)

LOG_EVERY = 50
"""Steps whose mean losses are a line of the log."""

MOVEMENT_STEPS = 10
"""Steps in which all that is trained must have moved; a picture's motion is not in each of them."""

MOVING = 0.5
"""Share of the pictures whose depth may use the motion; the others' sees the first frame alone."""


class Trainer:
    """Trains a model as configured, on whatever processes accelerate was started with.

    The folder receives `log.jsonl`, checkpoints (`step-00000500`) and at the end the averaged
    weights (`config.json`, `model.safetensors`). A folder that holds a checkpoint is gone on with.

    Args:
        config: The training.
        folder: Where to write.
        console: Where the main process tells how it goes.
        accelerator: The processes; by default those that were started.
        tensorboard: Write the log's figures as events too.
        movement_check: Tell what has not moved after the first steps.

    Raises:
        InputError: The processes are not as they must be, or tensorboard is not installed.
    """

    def __init__(
        self,
        config: TrainingConfig,
        folder: Path,
        console: Console,
        *,
        accelerator: Accelerator | None = None,
        tensorboard: bool = False,
        movement_check: bool = True,
    ) -> None:
        self.config, self.folder, self.console = config, folder, console
        self.movement_check = movement_check
        self.accelerator = accelerator or start_processes()
        self.accelerator.ddp_handler = DistributedDataParallelKwargs(
            find_unused_parameters=leaves_unused(config)
        )
        torch.manual_seed(config.seed)
        self.bare = model = start_model(config)
        if self.accelerator.is_fsdp2:
            widen_scalars(model)
        optimizer = start_optimizer(model, config)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.schedule = LambdaLR(
            self.optimizer.optimizer,
            [lambda step: encoder_rate(config, step), *[lambda step: rate(config, step)] * 2],
        )
        if self.accelerator.is_fsdp2:
            begin_moments(optimizer)
        self.average = WeightAverage(self.bare, config.average)
        self.accelerator.register_for_checkpointing(self.schedule, self.average)
        self.parts = {
            "model": model,
            "optimizer": optimizer,
            "schedule": self.schedule,
            "average": self.average,
        }
        self.step = self._resume()
        self.log: TrainingLog | None = None
        if self.accelerator.is_main_process:
            self.log = TrainingLog(folder, step=self.step, tensorboard=tensorboard)

    def run(self) -> ProMotion:
        """Train to the end.

        Returns:
            The model of averaged weights.

        Raises:
            RunError: The loss is not finite, SIGTERM asked the process to end, or what is saved
                cannot be written, or another process has ended; checkpoints stay.
            KeyboardInterrupt: Ctrl-C did.
        """
        accelerator = self.accelerator
        processes = Processes(
            accelerator.num_processes, accelerator.process_index, accelerator.device
        )
        with processes.together(self._kept):
            self._train()
            model = self.averaged()
            if self.accelerator.is_main_process:
                with saving(self.folder, self._remedy()):
                    model.save_pretrained(self.folder)
            self.accelerator.wait_for_everyone()
            return model

    def _train(self) -> None:
        """Take the steps that are left."""
        batches = self._batches()
        recent: list[dict[str, float]] = []
        self.model.train()
        self._freeze(*self.config.stage_at(min(self.step, self.config.steps - 1)))
        self.console.table(*count_parameters(self.bare, depth=1).cells())
        with (
            self.log or nullcontext(),
            self._movement_check() or nullcontext(),
            asked_to_end(self.console.note) as signals,
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
                ending = self._agree_to_end(bool(signals))
                if ending or self.step % self.config.save_every == 0:
                    self._save()
                if ending:
                    raise ended(
                        signals,
                        f"training was asked to end at step {self.step} of {self.config.steps}, "
                        "and has saved itself; go on with the same config, "
                        f"--output {self.folder} and --resume",
                    )

    def averaged(self) -> ProMotion:
        """A plain model of the averaged weights, in evaluation mode."""
        weights = self.average.weights()  # of all processes together
        model = ProMotion(self.config.model)
        shapes = model.state_dict()  # in which scalars are scalars again
        model.load_state_dict({name: weights[name].view_as(shapes[name]) for name in shapes})
        return model.to(self.accelerator.device).eval()

    def _save(self) -> None:
        """Save a checkpoint.

        Raises:
            RunError: It cannot be written.
        """
        with saving(self.folder, self._remedy()):
            save_checkpoint(self.accelerator, self.parts, self.folder, self.step)

    def _remedy(self) -> str:
        """How to go on once it can be saved."""
        return f"go on with the same config and --resume ({self._kept()})"

    def _kept(self) -> str:
        """What was saved before."""
        found = checkpoints(self.folder)
        return f"{found[-1]} is whole" if found else "no checkpoint was saved before"

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
        figures = self._mean(found)
        if not math.isfinite(figures["loss_total"]):
            raise RunError(
                f"loss ({figures['loss_total']}) must be finite at step {self.step}; "
                "lower the learning_rate"
            )
        found.total.backward()
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.average.update()
        self.step += 1
        return figures

    def _mean(self, found: Losses) -> dict[str, float]:
        """The mean of each loss over the processes, which is the same on each of them."""
        names = [part.name for part in fields(found)]
        stacked = torch.stack([getattr(found, name).detach() for name in names])
        values = self.accelerator.reduce(stacked, "mean").tolist()
        return {f"loss_{name}": value for name, value in zip(names, values, strict=True)}

    def _agree_to_end(self, asked: bool) -> bool:
        """Whether any process was asked to end: all of them must save at the same step."""
        if asked:
            self.accelerator.set_trigger()
        return bool(self.accelerator.check_trigger())

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
        for batch in loader:
            if isinstance(batch, InputError):
                raise batch
            yield batch.to(self.accelerator.device)

    def _freeze(self, stage: StageConfig, first: int) -> None:
        """Hold still what the stage says."""
        model = self.bare
        for part in PARTS:
            change = freeze if part in stage.frozen else unfreeze
            change(model, *patterns_of(model, part))
        if model.learner is not None and self.config.model.memory:
            begin = self.step - first < stage.frozen_memory * stage.steps
            model.learner.memory.frozen = begin or "features" in stage.frozen

    def _movement_check(self) -> MovementCheck | None:
        """Look at the first steps, where the stage has as many left."""
        stage, first = self.config.stage_at(min(self.step, self.config.steps - 1))
        if not self.movement_check or first + stage.steps - self.step < MOVEMENT_STEPS:
            return None
        frozen = {pattern for part in stage.frozen for pattern in patterns_of(self.bare, part)}
        return MovementCheck(
            self.bare,
            self.optimizer,
            steps=MOVEMENT_STEPS,
            exempt=[pattern for pattern in unused_in(stage, self.config) if pattern not in frozen],
            on_failure=self._tell_still,
        )

    def _tell_still(self, report: MovementReport) -> None:
        self.console.note(report.sentence)
        self.console.table(*report.cells())

    def _evaluate(self) -> None:
        """Measure the averaged weights on held-out scenes of the stage, and on folders."""
        stage, _ = self.config.stage_at(self.step - 1)
        model = self.averaged()
        if self.accelerator.is_main_process:
            height, width = max(stage.sizes)
            scenes = replace(stage.scenes, height=height, width=width)
            count = self.config.held_out
            figures = evaluate_scenes(model, scenes, count, tasks=stage.tasks)
            for folder in self.config.validation:
                found = evaluate_folder(model, folder.open(), self.config.validation_samples)
                figures |= {f"{name}_{folder.path.name}": value for name, value in found.items()}
            self._log(figures)
        self.accelerator.wait_for_everyone()

    def _log(self, figures: dict[str, float]) -> None:
        if self.bare.learner is not None:
            figures = {"usage_entropy": self.bare.learner.memory.usage_entropy()} | figures
        if self.log is not None:
            with saving(self.folder, self._remedy()):
                self.log.write(self.step, figures)

    def _resume(self) -> int:
        """Go on from the newest whole checkpoint, if there is one."""
        found = checkpoints(self.folder)
        if not found:
            return 0
        load_checkpoint(self.accelerator, self.parts, found[-1])
        self.console.note(f"resuming from {found[-1]}")
        return step_of(found[-1])


def means(recent: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure over some steps."""
    return {name: statistics.fmean(each[name] for each in recent) for name in recent[0]}

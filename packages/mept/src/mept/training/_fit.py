"""From rows and dev samples to a trained adapter: the checkpoint that scored best on dev."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import torch
from peft.utils.save_and_load import load_peft_weights, set_peft_model_state_dict

from mept._fit_routers import fit_routers
from mept.training._forms import Form, Questions, Row
from mept.training._trainer import FOLDER, ScoreWatch, ScoringTrainer, training_arguments
from tokenseek_common.cli import Console
from tokenseek_common.data import TaskSample, mix_samples
from tokenseek_common.training import train_to_end

ROUTERS = "*.mept_router*"
"""What routers' parameters are called: rows, and scales of cosine routers."""

FIT_ROWS = 256
"""Rows that routers read before they start, about."""


_OPTIMIZERS = {"adamw": "adamw_torch", "adafactor": "adafactor"}  # of the Trainer


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a model is trained.

    Args:
        steps: Optimizer steps.
        batch_size: Rows of each.
        learning_rate: The highest; it rises for 6 % of the steps and falls to nothing.
        evaluate_every: Steps from one score of the dev samples to the next.
        temperature: 1 draws tasks in proportion to their samples, a large one draws all alike.
        seed: Of everything random.
        router_learning_rate: The highest of the routers; None is that of all.
        optimizer: What takes the steps.
    """

    steps: int
    batch_size: int
    learning_rate: float
    evaluate_every: int
    temperature: float
    seed: int
    router_learning_rate: float | None = None
    optimizer: Literal["adamw", "adafactor"] = "adamw"


@dataclass(frozen=True)
class Fitted:
    """What came of a training.

    Args:
        dev_curve: Scores of the dev samples at each step that they were taken at.
        chosen_step: That with the best of them, whose weights the model has; of several the one
            that holds the right answers most likely.
        losses: Mean loss of the steps up to each step that it was logged at.
    """

    dev_curve: list[dict[str, float]]
    chosen_step: int
    losses: list[dict[str, float]]

    @property
    def dev_score(self) -> float:
        """The score that the step was chosen by."""
        return next(at["score"] for at in self.dev_curve if at["step"] == self.chosen_step)


def training_rows(form: Form, samples: Sequence[TaskSample], schedule: Schedule) -> list[Row]:
    """Draw what is learnt, of each task its part: as many rows as all steps take.

    A sample teaches one row each time that it is drawn. Of one with a row for each candidate, all
    come up in turn, from another first one on: else it would count for as many.
    """
    count = schedule.steps * schedule.batch_size
    drawn = mix_samples(samples, temperature=schedule.temperature, size=count, seed=schedule.seed)
    turns: dict[int, Iterator[Row]] = {}  # a sample may be drawn again and again
    for place, sample in enumerate(drawn):
        if id(sample) not in turns:
            rows = form.train_rows(sample)
            first = place % len(rows)
            turns[id(sample)] = cycle(rows[first:] + rows[:first])
    return [next(turns[id(sample)]) for sample in drawn]


def fit(
    model: Any,
    form: Form,
    rows: Sequence[Row],
    dev: Questions,
    *,
    schedule: Schedule,
    folder: Path,
    checkpoint: Path | None,
    device: torch.device,
    console: Console,
    under: AbstractContextManager[object],
    movement_check: bool = True,
) -> Fitted:
    """Train a model's prompts, and leave it with the weights that scored best on dev.

    Args:
        model: A model with prompts.
        form: How it is asked.
        rows: What is learnt, of `training_rows`.
        dev: What the checkpoint is chosen by.
        schedule: How long and how fast.
        folder: The run's own; checkpoints go there.
        checkpoint: Where an interrupted run goes on, if it does.
        device: Where it trains.
        console: Where progress is told.
        under: What the steps are taken under.
        movement_check: Tell what the first steps have not moved.

    Raises:
        RunError: A loss is not finite, or SIGTERM ended the run.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    arguments = training_arguments(
        folder / FOLDER,
        device=device,
        evaluate_every=schedule.evaluate_every,
        max_steps=schedule.steps,
        learning_rate=schedule.learning_rate,
        per_device_train_batch_size=schedule.batch_size,
        per_device_eval_batch_size=schedule.batch_size,
        seed=schedule.seed,
        data_seed=schedule.seed,
        optim=_OPTIMIZERS[schedule.optimizer],
    )
    if checkpoint is None and model.peft_config["default"].router_init == "kmeans":
        read = [rows[i : i + schedule.batch_size] for i in range(0, FIT_ROWS, schedule.batch_size)]
        batches = [form.collator(list(part)) for part in read if part]
        count = fit_routers(model, batches, seed=schedule.seed)
        console.note(f"routers start at k-means centroids of what they read of {count} rows")
    rate = schedule.router_learning_rate
    with under:
        trainer = ScoringTrainer(
            form=form,
            dev=dev,
            learning_rates=None if rate is None else {ROUTERS: rate},
            model=model,
            args=arguments,
            data_collator=form.collator,
            train_dataset=rows,
            eval_dataset=dev.samples,
        )
        state = train_to_end(
            trainer,
            console,
            output=folder,
            checkpoint=checkpoint,
            watch=ScoreWatch,
            movement_check=movement_check,
            # The gate of a single expert is 1, whatever its router says.
            at_rest=[ROUTERS] if model.peft_config["default"].num_experts == 1 else [],
        )
    best = state.best_global_step
    assert best is not None, "the last step was scored"
    chosen = load_peft_weights(str(folder / FOLDER / f"checkpoint-{best}"), device=str(device))
    set_peft_model_state_dict(model, chosen)
    return Fitted(_logged(state.log_history, "eval_"), best, _logged(state.log_history, "loss"))


def _logged(history: list[dict[str, float]], prefix: str) -> list[dict[str, float]]:
    """The figures that begin so, with their steps."""
    found = []
    for line in history:
        figures = {
            name.removeprefix("eval_"): value
            for name, value in line.items()
            if name.startswith(prefix)
        }
        if figures:
            found.append({"step": line["step"], **figures})
    return found

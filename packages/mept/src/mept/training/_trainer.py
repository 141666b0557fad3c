"""The Hugging Face Trainer, which scores the dev samples by the metrics of their tasks."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from transformers import (
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from mept.training._forms import Form, Questions
from mept.training._scores import mean_score
from tokenseek_common.cli import Console
from tokenseek_common.training import FiniteTrainer, Watch, trainer_arguments

RANK = "rank"
"""What checkpoints are ranked by: the score, and among equal scores the certainty."""

_TIE = 1e-6  # less than any score of fewer than a million samples differs by

FOLDER = "checkpoints"
"""Where checkpoints lie in the folder of a run."""


class ScoringTrainer(FiniteTrainer):
    """A Trainer whose evaluation is the official score of the dev samples.

    Args:
        form: How the model is asked.
        dev: What it is asked.
        settings: Arguments of the Trainer.
    """

    def __init__(self, *, form: Form, dev: Questions, **settings: Any) -> None:
        super().__init__(remedy="lower --learning-rate or look at the samples", **settings)
        self.form = form
        self.dev = dev

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Score the dev samples; what the Trainer chooses its best checkpoint by."""
        samples = self.dev.samples
        answers = self.form.answers(
            self.model, self.dev, batch_size=self.args.per_device_eval_batch_size
        )
        by_task = self.form.metrics(samples, answers)
        tied = mean_score(by_task), self.form.certainty(samples, answers)
        scores = {
            f"{metric_key_prefix}_score": tied[0],
            f"{metric_key_prefix}_{self.form.certainty_name}": tied[1],
        }
        for task, metrics in by_task.items():
            scores[f"{metric_key_prefix}_{task}"] = metrics["score"]
        self.log(scores)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, scores
        )
        return scores | {f"{metric_key_prefix}_{RANK}": tied[0] + _TIE * tied[1]}


class ScoreWatch(Watch):
    """Tell the dev score too, and see that the last step is scored and saved.

    Args:
        trainer: The Trainer that it is added to.
        console: Where progress is told.
        stack: Closes the progress, however the run ends.
    """

    def __init__(self, trainer: ScoringTrainer, console: Console, stack: ExitStack) -> None:
        super().__init__(trainer, console, stack)
        self.dev_score = math.nan

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note the score."""
        self.dev_score = kwargs["metrics"]["eval_score"]

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell, and ask for the last score, which some versions of the Trainer leave out."""
        super().on_step_end(args, state, control, **kwargs)
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True

    def figures(self) -> dict[str, float]:
        """The dev score, once there is one."""
        return {} if math.isnan(self.dev_score) else {"dev": self.dev_score}


def training_arguments(
    folder: Path, *, device: torch.device, evaluate_every: int, **settings: Any
) -> TrainingArguments:
    """The Trainer's settings: those that are a choice of ours, and the given ones.

    Args:
        folder: Where checkpoints go.
        device: Where it trains.
        evaluate_every: Steps from one score of the dev samples, and checkpoint, to the next.
        settings: Further fields of TrainingArguments.
    """
    return trainer_arguments(
        folder,
        device=device,
        lr_scheduler_type="linear",
        warmup_steps=0.06,  # of all steps
        weight_decay=0.01,
        eval_strategy="steps",
        eval_steps=evaluate_every,
        save_steps=evaluate_every,
        save_total_limit=3,  # the best, the newest, and one more: the newest may be cut off
        metric_for_best_model=RANK,
        greater_is_better=True,
        logging_steps=evaluate_every,
        **settings,
    )

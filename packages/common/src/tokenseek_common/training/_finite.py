"""The Trainer of transformers, stopped before a step that is not finite reaches the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tokenseek_common._errors import RunError
from tokenseek_common.cli import Console
from tokenseek_common.training._checkpoints import standing_of
from tokenseek_common.training._writing import saving
from tokenseek_common.tuning import parameter_groups


class FiniteTrainer(Trainer):
    """A Trainer that looks at the true loss of every step, which its own logs smooth over.

    Args:
        remedy: What to do where a step is not finite, such as "lower --lr".
        learning_rates: Of parameters that a pattern matches, as of `parameter_groups`.
        settings: Arguments of the Trainer.

    Attributes:
        step_loss: Loss of the current optimizer step, as far as it has come.
    """

    def __init__(
        self, *, remedy: str, learning_rates: Mapping[str, float] | None = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.remedy = remedy
        self.learning_rates = learning_rates
        self.step_loss = 0.0

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Optimizer:
        """Make the optimizer that the settings name, of our `parameter_groups`."""
        if self.optimizer is None:
            model: Any = self.model
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            groups = parameter_groups(
                model,
                learning_rate=self.args.learning_rate,
                weight_decay=self.args.weight_decay,
                learning_rates=self.learning_rates,
            )
            self.optimizer = kind(groups, **options)
        return self.optimizer

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Run one micro-batch forward and backward.

        Raises:
            RunError: Its loss is not finite; the weights are as they were before the step.
        """
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        value = float(loss)
        if self.args.world_size == 1:  # of several processes, all see it in the gradients
            self.check_finite("loss", value)
        self.step_loss += value
        return loss

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save what a run needs to go on.

        Raises:
            RunError: It cannot be written.
        """
        remedy = f"go on with the same options and --resume ({self.kept()})"
        with saving(Path(str(self.args.output_dir)), remedy):
            super()._save_checkpoint(*args, **kwargs)

    def kept(self) -> str:
        """What a run that ends now can go on from."""
        folder = Path(str(self.args.output_dir))
        healthy = standing_of(folder, processes=self.args.world_size).checkpoint
        return f"{healthy} is healthy" if healthy else "no checkpoint was saved before"

    def check_finite(self, name: str, value: float) -> None:
        """Stop the run where a figure of the current step is not finite.

        Raises:
            RunError: It is not; the newest whole checkpoint is named.
        """
        if math.isfinite(value):
            return
        raise RunError(
            f"{name} ({value}) must be finite, but is not at step {self.state.global_step + 1}; "
            f"{self.remedy} ({self.kept()})"
        )


class Watch(TrainerCallback):
    """Follow the steps: tell how far they are, stop at gradients that are not finite.

    Args:
        trainer: The Trainer that it is added to.
        console: Where progress is told.
        stack: Closes the progress, however the run ends.
    """

    def __init__(self, trainer: FiniteTrainer, console: Console, stack: ExitStack) -> None:
        self.trainer = trainer
        self.console = console
        self.stack = stack

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the progress, at the step where a resumed run goes on."""
        self.progress = self.stack.enter_context(
            self.console.progress("training", total=state.max_steps)
        )
        if state.global_step:
            self.progress.advance(state.global_step)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin to add up the step's loss."""
        self.trainer.step_loss = 0.0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at the gradients: a finite loss can have others."""
        gradients = [parameter.grad for parameter in kwargs["model"].parameters()]
        norm = nn.utils.get_total_norm([given for given in gradients if given is not None])
        self.trainer.check_finite("gradient norm", float(norm))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell."""
        self.progress.advance(1, loss=self.trainer.step_loss, **self.figures())

    def figures(self) -> dict[str, float]:
        """What is told of a step beside its loss."""
        return {}

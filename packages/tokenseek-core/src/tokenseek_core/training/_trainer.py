"""The Hugging Face Trainer, stopped before a step that is not finite could reach the weights."""

from __future__ import annotations

import dataclasses
import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tokenseek_common import RunError
from tokenseek_common.cli import Console
from tokenseek_common.data import IGNORE_INDEX
from tokenseek_common.training import standing_of, trainer_arguments
from tokenseek_core._apply import TokenSeekHandle


@dataclass
class Tally:
    """What the training steps of this session went through.

    Args:
        tokens: Real tokens.
        kept: Tokens that carried gradient; all of them in a dense step.
        supervised: Kept tokens that have a target.
        seconds: Time of the steps, without evaluation and saving.
    """

    tokens: int = 0
    kept: int = 0
    supervised: int = 0
    seconds: float = 0.0

    def add(self, batch: dict[str, Tensor], handle: TokenSeekHandle | None) -> None:
        """Count a batch that a step has just gone through."""
        tokens = int(batch["attention_mask"].sum())
        self.tokens += tokens
        if handle is None or handle.last is None:
            self.kept += tokens
            self.supervised += int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
        else:
            kept = int(handle.last.active.sum())
            self.kept += kept
            self.supervised += round(kept * float(handle.last.supervised_share))

    @property
    def tokens_per_second(self) -> float:
        """Real tokens that went through training steps each second."""
        return self.tokens / max(self.seconds, 1e-9)

    @property
    def kept_share(self) -> float:
        """Share of the real tokens that carried gradient."""
        return self.kept / max(self.tokens, 1)

    @property
    def supervised_share(self) -> float:
        """Share of the kept tokens that have a target."""
        return self.supervised / max(self.kept, 1)


class FiniteTrainer(Trainer):
    """A Trainer that looks at the true loss of every step, which its own logs smooth over.

    Args:
        handle: TokenSeek on the model; None where it trains densely.
        settings: Arguments of the Trainer.

    Attributes:
        tally: What its steps went through.
        step_loss: Loss of the current optimizer step, as far as it has come.
    """

    def __init__(self, *, handle: TokenSeekHandle | None, **settings: Any) -> None:
        super().__init__(**settings)
        self.handle = handle
        self.tally = Tally()
        self.step_loss = 0.0

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
        self.check_finite("loss", value)
        self.step_loss += value
        self.tally.add(inputs, self.handle)
        return loss

    def check_finite(self, name: str, value: float) -> None:
        """Stop the run where a figure of the current step is not finite."""
        if math.isfinite(value):
            return
        healthy = standing_of(Path(str(self.args.output_dir))).checkpoint
        kept = f"{healthy} is healthy" if healthy else "no checkpoint was saved before"
        raise RunError(
            f"{name} ({value}) must be finite, but is not at step {self.state.global_step + 1}; "
            f"lower --lr or look at the data ({kept})"
        )


class Watch(TrainerCallback):
    """Follow the steps: time them, tell how far they are, stop at gradients that are not finite.

    Args:
        trainer: The Trainer that it is added to.
        console: Where progress is told.
        stack: Closes the progress, however the run ends.
    """

    def __init__(self, trainer: FiniteTrainer, console: Console, stack: ExitStack) -> None:
        self.trainer = trainer
        self.console = console
        self.stack = stack
        self.started = 0.0

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
        """Start the clock."""
        self.started = time.perf_counter()
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
        """Stop the clock, and tell."""
        self.trainer.tally.seconds += time.perf_counter() - self.started
        self.progress.advance(loss=self.trainer.step_loss)


def training_arguments(
    folder: Path,
    *,
    device: torch.device,
    gradient_checkpointing: bool,
    evaluate: bool,
    resumed: bool,
    save_steps: int,
    **settings: Any,
) -> TrainingArguments:
    """The Trainer's settings: those that are a choice of ours, and the given ones.

    Args:
        folder: Where checkpoints go.
        device: Where it trains.
        gradient_checkpointing: Whether activations are recomputed.
        evaluate: Whether there is held-out data.
        resumed: Whether the run has begun before.
        save_steps: Steps from one checkpoint, and evaluation, to the next.
        settings: Further fields of TrainingArguments.
    """
    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    # Newer versions have renamed it, and warn of the old name.
    current = "activation_checkpointing"
    checkpointing = current if current in known else "gradient_checkpointing"
    settings |= {checkpointing: gradient_checkpointing}
    return trainer_arguments(
        folder,
        device=device,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,  # of all steps
        save_steps=save_steps,
        save_total_limit=2,  # the newest may be cut off in mid-save
        eval_strategy="steps" if evaluate else "no",
        eval_steps=save_steps if evaluate else None,
        eval_on_start=evaluate and not resumed,
        prediction_loss_only=True,
        logging_steps=0.01,  # of all steps
        logging_first_step=True,
        **settings,
    )

"""The Hugging Face Trainer, which counts and times what its steps go through."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tokenseek_common.data import IGNORE_INDEX
from tokenseek_common.training import FiniteTrainer, Processes, trainer_arguments
from tokenseek_core._apply import TokenSeekHandle


@dataclass
class Tally:
    """What the training steps of this session went through.

    Args:
        tokens: Real tokens, and those that fill up rows of several examples.
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
        mask = batch.get("attention_mask")  # rows of several examples have none
        tokens = batch["input_ids"].numel() if mask is None else int(mask.sum())
        self.tokens += tokens
        if handle is None or handle.last is None:
            self.kept += tokens
            self.supervised += int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
        else:
            kept = int(handle.last.active.sum())
            self.kept += kept
            self.supervised += round(kept * float(handle.last.supervised_share))

    def of_all(self, processes: Processes) -> Tally:
        """That of all processes, which took their steps together."""
        tokens, kept, supervised = map(
            int, processes.summed([self.tokens, self.kept, self.supervised])
        )
        return Tally(tokens, kept, supervised, self.seconds)

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


class CountingTrainer(FiniteTrainer):
    """A Trainer that counts what its steps go through.

    Args:
        handle: TokenSeek on the model; None where it trains densely.
        order: In which the training examples come; None leaves it to the Trainer.
        settings: Arguments of the Trainer.

    Attributes:
        tally: What its steps went through.
    """

    def __init__(
        self,
        *,
        handle: TokenSeekHandle | None,
        order: Sampler[int] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(remedy="lower --learning-rate or look at the data", **settings)
        self.handle = handle
        self.order = order
        self.tally = Tally()

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Sampler[int] | None:
        """Give the order that was asked for, or the Trainer's own."""
        if self.order is not None:
            return self.order
        return super()._get_train_sampler(*args, **kwargs)

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Run one micro-batch forward and backward, and count it.

        Raises:
            RunError: Its loss is not finite; the weights are as they were before the step.
        """
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.tally.add(inputs, self.handle)
        return loss


class Clock(TrainerCallback):
    """Time the steps, without evaluation and saving.

    Args:
        tally: Where the seconds are added.
    """

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.started = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop the clock."""
        self.tally.seconds += time.perf_counter() - self.started


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

"""A training by the Trainer of transformers, told of and ended when a signal asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tokenseek_common.cli import Console
from tokenseek_common.training._finite import FiniteTrainer, Watch
from tokenseek_common.training._moving import MovementWatch
from tokenseek_common.training._processes import Processes
from tokenseek_common.training._signals import asked_to_end, ended
from tokenseek_common.tuning import count_parameters


class EndWhenAsked(TrainerCallback):
    """Save and stop after the step in which a signal came.

    Args:
        signals: The list of `asked_to_end`.
        processes: Those of the training; a signal that one of them gets ends all.
    """

    def __init__(self, signals: list[int], processes: Processes) -> None:
        self.signals = signals
        self.processes = processes

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look whether one has come."""
        if self.processes.any(bool(self.signals)):
            control.should_save = control.should_training_stop = True


def train_to_end(
    trainer: FiniteTrainer,
    console: Console,
    *,
    output: Path,
    checkpoint: Path | None = None,
    watch: Callable[[Any, Console, ExitStack], Watch] = Watch,
    movement_check: bool = True,
    at_rest: Sequence[str] = (),
) -> TrainerState:
    """Train to the last step, or save and stop when SIGTERM or Ctrl-C asks for it.

    Args:
        trainer: The Trainer.
        console: Where the table of parameters, progress and notes are told.
        output: The folder of the run, as it is named to resume it.
        checkpoint: Where an interrupted run goes on; None begins.
        watch: Makes the callback that follows the steps.
        movement_check: Tell what the first steps have not moved.
        at_rest: Patterns of trainable parameters that need not move.

    Returns:
        The Trainer's state after its last step.

    Raises:
        RunError: A step was not finite, SIGTERM came, a checkpoint could not be written, or another
            process of the training ended.
        KeyboardInterrupt: Ctrl-C came; once it has saved the run, twice at once.

    Example:
        >>> train_to_end(trainer, Console(), output=Path("run")).global_step  # doctest: +SKIP
    """
    trainer.remove_callback(PrinterCallback)  # it prints to stdout
    assert trainer.model is not None
    console.table(*count_parameters(trainer.model).cells())
    with ExitStack() as stack:
        signals = stack.enter_context(asked_to_end(console.note))
        trainer.add_callback(watch(trainer, console, stack))
        processes = Processes(
            trainer.args.world_size, trainer.args.process_index, trainer.args.device
        )
        trainer.add_callback(EndWhenAsked(signals, processes))
        if movement_check:
            trainer.add_callback(MovementWatch(console, stack, at_rest))
        with processes.together(trainer.kept):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    state = trainer.state
    if state.global_step < state.max_steps:
        raise ended(
            signals,
            f"training was asked to end at step {state.global_step} of {state.max_steps}, and has "
            f"saved itself; go on with the same options, --output {output} and --resume",
        )
    return state

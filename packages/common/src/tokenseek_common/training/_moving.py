"""Whether the first steps of a Trainer move all that it trains."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tokenseek_common.cli import Console
from tokenseek_common.tuning import MovementCheck, MovementReport

STEPS = 5
"""Steps in which all must have moved, once the learning rate has warmed up."""


class MovementWatch(TrainerCallback):
    """Tell what the first steps have not moved; nothing in a run that is shorter.

    Args:
        console: Where it is told, as a sentence and a table.
        stack: Ends the check, however the run ends.
        at_rest: Patterns of trainable parameters that need not move.
    """

    def __init__(self, console: Console, stack: ExitStack, at_rest: Sequence[str] = ()) -> None:
        self.console = console
        self.stack = stack
        self.at_rest = at_rest

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin to look, at the step where a resumed run goes on."""
        # The rates before that may be too small for the digits of a weight.
        warm_up = max(args.get_warmup_steps(state.max_steps) - state.global_step, 0)
        if warm_up + STEPS > state.max_steps - state.global_step:
            return
        check = MovementCheck(
            kwargs["model"],
            kwargs["optimizer"],
            steps=warm_up + STEPS,
            exempt=self.at_rest,
            on_failure=self.tell,
        )
        self.stack.enter_context(check)

    def tell(self, report: MovementReport) -> None:
        """Tell what has not moved."""
        self.console.note(report.sentence)
        self.console.table(*report.cells())

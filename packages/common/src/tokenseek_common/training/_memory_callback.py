"""Tell the Trainer's logs how much memory its steps take."""

from __future__ import annotations

import contextlib
from typing import Any

from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tokenseek_common.memory import Reading, measure


class MemoryCallback(TrainerCallback):
    """Measure each step of a Trainer, and log the largest peak whenever the Trainer logs.

    A step is all its batches and the optimizer's. The record carries `memory_peak_bytes`, the
    largest peak since the last record, as `measure` counts it on the Trainer's device: by the
    allocator of an accelerator, by the resident set of the process on a CPU. It stands in the
    Trainer's log history and goes to its reporters.

    Args:
        trainer: The Trainer that the callback is added to.

    Attributes:
        peaks: Bytes at the peak of each step so far.

    Example:
        >>> trainer.add_callback(MemoryCallback(trainer))  # doctest: +SKIP
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.peaks: list[int] = []
        self._logged = 0
        self._block = contextlib.ExitStack()
        self._reading: Reading | None = None

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Start to measure."""
        self._block.close()  # of a step that was broken off
        self._reading = self._block.enter_context(measure(args.device))

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Log beside the Trainer's own record; in `on_log` it would be too late for reporters."""
        self._block.close()
        if self._reading is not None:
            self.peaks.append(self._reading.report.peak)
            self._reading = None
        if not control.should_log or self._logged == len(self.peaks):
            return
        peak, self._logged = max(self.peaks[self._logged :]), len(self.peaks)
        self.trainer.log({"memory_peak_bytes": float(peak)})
        control.should_log = True  # logging cleared it, and the loss is still to be logged

    on_epoch_end = on_step_end  # where the Trainer logs by epoch

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Stop, also in the middle of a step."""
        self._block.close()

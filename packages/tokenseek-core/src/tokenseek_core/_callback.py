"""Tell the Hugging Face Trainer's logs what TokenSeek kept."""

from __future__ import annotations

from typing import Any

from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tokenseek_core._apply import TokenSeekHandle


class TokenSeekCallback(TrainerCallback):
    """Log what the last step kept, whenever the Trainer logs.

    The record carries `kept_tokens` and `kept_bytes` (of recorded keys and values), and
    `supervised_share`, the share of the kept tokens that have a target. It stands in the Trainer's
    log history and goes to its reporters; where the steps are dense, there is none.

    Args:
        handle: What `apply_tokenseek` returned.
        trainer: The Trainer that the callback is added to.

    Example:
        >>> trainer.add_callback(TokenSeekCallback(handle, trainer))  # doctest: +SKIP
    """

    def __init__(self, handle: TokenSeekHandle, trainer: Trainer) -> None:
        self.handle = handle
        self.trainer = trainer

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Log beside the Trainer's own record; in `on_log` it would be too late for reporters."""
        report = self.handle.last
        if not control.should_log or report is None:
            return
        told = {
            "kept_tokens": float(report.active.sum()),
            "supervised_share": float(report.supervised_share),
            "kept_bytes": float(report.kept_bytes),
        }
        Trainer.log(self.trainer, told)  # those of TRL add their means to the next record alone
        control.should_log = True  # logging cleared it, and the loss is still to be logged

    on_epoch_end = on_step_end  # where the Trainer logs by epoch

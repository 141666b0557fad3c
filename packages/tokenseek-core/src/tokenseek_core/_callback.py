"""Tell the Hugging Face Trainer's logs what TokenSeek kept, and record it step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tokenseek_common import InputError
from tokenseek_core._apply import TokenSeekHandle
from tokenseek_core._recorded_step import RecordedStep, ScoreStatistics
from tokenseek_core._token_classes import TokenClasses

RECORD = "kept.jsonl"
"""What a record is called, in the Trainer's output folder, where no file is named."""


class TokenSeekCallback(TrainerCallback):
    """Log what the last step kept, whenever the Trainer logs; record it, where that is asked for.

    What is logged are `kept_tokens`, `kept_share` of the tokens and `kept_bytes` (of recorded keys
    and values), `supervised_share`, the share of the kept tokens that have a target, and
    `score_mean`, `score_std` and `score_max` over all tokens. It stands in the Trainer's log
    history and goes to its reporters, such as TensorBoard; where the steps are dense, there is
    none.

    What is recorded is a line of JSON for each step: how much was kept of each class of tokens and
    of each tenth of an instance. `tokenseek inspect --log` draws it. A file that is there already
    is continued, as a run that is resumed needs it.

    Args:
        handle: What `apply_tokenseek` returned.
        trainer: The Trainer that the callback is added to; its tokenizer tells numbers,
            punctuation and special tokens apart.
        record_every: Steps from one that is recorded to the next, the first of which is the first;
            None records none.
        record_to: The file; by default kept.jsonl in the Trainer's output folder.

    Raises:
        InputError: `record_every` is not positive, or a file is named and nothing recorded.

    Example:
        >>> trainer.add_callback(TokenSeekCallback(handle, trainer))  # doctest: +SKIP
    """

    def __init__(
        self,
        handle: TokenSeekHandle,
        trainer: Trainer,
        record_every: int | None = None,
        record_to: Path | str | None = None,
    ) -> None:
        if record_every is not None and record_every < 1:
            raise InputError(
                f"record_every ({record_every}) must be at least 1, or None; 10 records every "
                "tenth step"
            )
        if record_every is None and record_to is not None:
            raise InputError(
                f"record_to ({record_to}) must come with record_every; add record_every=10"
            )
        self.handle = handle
        self.trainer = trainer
        self.record_every = record_every
        self.record_to = record_to
        tokenizer = getattr(trainer, "processing_class", None)
        known = isinstance(tokenizer, PreTrainedTokenizerBase)
        self._classes = TokenClasses(tokenizer if known else None)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Record the step, and log it where the Trainer does."""
        self._record(args, state)
        self._log(control)

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Log the last step, where the Trainer logs by epoch."""
        self._log(control)

    def _log(self, control: TrainerControl) -> None:
        """Log beside the Trainer's own record; in `on_log` it would be too late for reporters."""
        report = self.handle.last
        if not control.should_log or report is None:
            return
        kept, score = report.active.sum().item(), ScoreStatistics.of(report)
        told = {
            "kept_tokens": float(kept),
            "kept_share": kept / report.valid.sum().item(),
            "supervised_share": float(report.supervised_share),
            "kept_bytes": float(report.kept_bytes),
            "score_mean": score.mean,
            "score_std": score.std,
            "score_max": score.max,
        }
        Trainer.log(self.trainer, told)  # those of TRL add their means to the next record alone
        control.should_log = True  # logging cleared it, and the loss is still to be logged

    def _record(self, args: TrainingArguments, state: TrainerState) -> None:
        """Add a line to the record, if this step is to have one."""
        report, every = self.handle.last, self.record_every
        if every is None or report is None or not state.is_world_process_zero:
            return
        if (state.global_step - 1) % every:
            return
        recorded = RecordedStep.of(report, state.global_step, self._classes)
        path = Path(args.output_dir or ".", RECORD) if self.record_to is None else self.record_to
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(recorded.line() + "\n")

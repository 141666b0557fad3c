"""A model and the examples that it is to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from tokenseek_common.data import Example, PaddingCollator
from tokenseek_core.training._run_record import fingerprint


@dataclass(frozen=True)
class Task:
    """What is trained on what.

    Args:
        model: The model, inside PEFT where an adapter is trained.
        tokenizer: Its tokenizer.
        train: Examples to learn.
        held_out: Examples to be judged by; there may be none.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    train: list[Example]
    held_out: list[Example]

    @property
    def collator(self) -> PaddingCollator:
        """Makes batches; padding is masked, so any token will do."""
        return PaddingCollator(pad_token_id=self.tokenizer.pad_token_id or 0)

    @property
    def fingerprints(self) -> dict[str, str | None]:
        """Names of both sets by their content."""
        held_out = fingerprint(self.held_out) if self.held_out else None
        return {"data": fingerprint(self.train), "eval_data": held_out}

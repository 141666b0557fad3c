"""A model and the examples that it is to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tokenseek_common.data import Example, pad_batch
from tokenseek_core.training._packed import PackedExample, stacked
from tokenseek_core.training._run_record import fingerprint


@dataclass(frozen=True)
class Task:
    """What is trained on what.

    Args:
        model: The model, inside PEFT where an adapter is trained.
        tokenizer: Its tokenizer.
        train: Examples to learn, or rows of them.
        held_out: Examples to be judged by; there may be none.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    train: Sequence[Example]
    held_out: list[Example]

    def collator(self, examples: Sequence[Example]) -> dict[str, Int[Tensor, "b s"]]:
        """Make a batch; padding is masked, so any token will do."""
        pad = self.tokenizer.pad_token_id or 0
        rows = [example for example in examples if isinstance(example, PackedExample)]
        return stacked(rows, pad_token_id=pad) if rows else pad_batch(examples, pad_token_id=pad)

    @property
    def fingerprints(self) -> dict[str, str | None]:
        """Names of both sets by their content."""
        held_out = fingerprint(self.held_out) if self.held_out else None
        return {"data": fingerprint(self.train), "eval_data": held_out}

"""Batches that say which tokens routers may see, for trainers that keep labels to themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mept._scope import before_labels, without_prefix
from mept._stack import real_tokens
from tokenseek_common import InputError


class RoutingCollator:
    """Add `routing_mask` to the batches of a data collator: what comes before the first label.

    The Trainer takes labels away from a model under `label_smoothing_factor` and
    `compute_loss_func`, and columns that the model's signature lacks from a data set. What a
    collator adds, it leaves.

    Args:
        collator: Makes batches with `labels`, unshifted, -100 where there is none.
        routing_prefix: As in `MeptConfig`, which does not see these labels: the share of a text
            that is all to be predicted which is its prompt.

    Raises:
        InputError: `routing_prefix` is outside its range, or a batch has no labels.

    Example:
        >>> collator = RoutingCollator(DataCollatorForLanguageModeling(tokenizer, mlm=False))
        >>> Trainer(model, arguments, data_collator=collator, train_dataset=rows)
    """

    def __init__(
        self, collator: Callable[[list[Any]], Any], *, routing_prefix: float = 0.0
    ) -> None:
        if not 0 <= routing_prefix < 1:
            raise InputError(
                f"routing_prefix ({routing_prefix}) must be a number in [0, 1); 0 is none"
            )
        self.collator = collator
        self.routing_prefix = routing_prefix

    def __call__(self, rows: list[Any]) -> dict[str, Any]:
        """Make a batch, and say what routers may see of it."""
        batch = dict(self.collator(rows))
        labels = batch.get("labels")
        if labels is None:
            raise InputError(
                f"batch ({', '.join(batch)}) must have labels, before which the prompts are; "
                "choose a collator that makes them"
            )
        real = real_tokens(batch.get("attention_mask"), labels)
        if self.routing_prefix:
            batch["labels"] = labels = without_prefix(real, labels, self.routing_prefix)
        batch["routing_mask"] = before_labels(real, labels).to(torch.long)
        return batch

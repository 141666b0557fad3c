"""The arguments of one training call, sorted by what a step does with them.

Shapes: `b` batch, `s` sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tokenseek_common import InputError
from tokenseek_core._loss import IGNORE_INDEX, shift_labels

ROWWISE = ("input_ids", "inputs_embeds", "position_ids", "token_type_ids")
REFUSED = {
    "past_key_values": "leave it out, training steps keep no cache",
    "output_attentions": "leave it out, pass two computes no full attention maps",
    "output_hidden_states": "leave it out, pass two computes the kept rows only",
    "logits_to_keep": "leave it out, a step returns the logits of the kept rows",
}


@dataclass(frozen=True)
class Batch:
    """The arguments of one training call, sorted by what they are.

    Args:
        rowwise: Arguments with a row for each token, position ids among them.
        attention_mask: As the model was given it.
        labels: As the model was given them, [b, s].
        targets: Target of each row; -100 has none, [b, s].
        valid: Tokens that are not padding, [b, s].
        num_items: Supervised tokens of the whole optimizer step, where the trainer knows them.
        options: Everything else, passed on unchanged.
    """

    rowwise: Mapping[str, Tensor]
    attention_mask: Tensor | None
    labels: Int[Tensor, "b s"]
    targets: Int[Tensor, "b s"]
    valid: Bool[Tensor, "b s"]
    num_items: Tensor | int | None
    options: Mapping[str, Any]

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Batch:
        """Sort the arguments of a forward call.

        Raises:
            InputError: An argument asks for what a step over some rows cannot give.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        if given.pop("return_dict", True) is False:
            raise InputError(
                "return_dict (False) must be True in a TokenSeek step; read outputs.loss by name"
            )
        for name, remedy in REFUSED.items():
            value = given.pop(name, None)
            if isinstance(value, Tensor) or value:
                raise InputError(f"{name} must be unset in a TokenSeek step; {remedy}")
        given.pop("use_cache", None)
        labels = given.pop("labels")
        targets = given.pop("shift_labels", None)
        mask = given.pop("attention_mask", None)
        rowwise = {name: given.pop(name) for name in ROWWISE if name in given}
        if not rowwise.keys() & {"input_ids", "inputs_embeds"}:
            raise InputError("input_ids (None) must be given with labels; pass the tokens")
        positions = rowwise.get("position_ids")
        if positions is None:
            positions = torch.arange(labels.shape[1], device=labels.device)[None]
        if positions.ndim != 2:
            raise InputError(
                f"position_ids ({list(positions.shape)}) must have shape [b, s]; "
                "positions of several axes cannot be replayed"
            )
        rowwise["position_ids"] = positions.expand_as(labels)
        num_items = given.pop("num_items_in_batch", None)
        for name, value in given.items():
            if isinstance(value, Tensor):
                raise InputError(
                    f"{name} must be unset in a TokenSeek step; "
                    f"of tensors it takes {', '.join(ROWWISE)}, attention_mask and labels"
                )
        padding = mask is not None and mask.ndim == 2
        return cls(
            rowwise=rowwise,
            attention_mask=mask,
            labels=labels,
            targets=shift_labels(labels) if targets is None else targets,
            valid=mask.bool() if padding else torch.ones_like(labels, dtype=torch.bool),
            num_items=num_items,
            options=given,
        )

    @property
    def supervised(self) -> Bool[Tensor, "b s"]:
        """Rows that have a target."""
        return self.targets != IGNORE_INDEX

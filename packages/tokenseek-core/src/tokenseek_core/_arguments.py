"""The arguments that a model is called with: which a step takes, and which it refuses.

Shapes: `b` batch, `s` sequence.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tokenseek_common import InputError
from tokenseek_core._loss import IGNORE_INDEX

ROWWISE = ("input_ids", "inputs_embeds", "position_ids", "token_type_ids")
BOUNDARIES = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")
"""Where sequences in one row end, for kernels; position ids that begin again say it too."""
REFUSED = {
    "past_key_values": "leave it out, training steps keep no cache",
    "output_attentions": "leave it out, pass two computes no full attention maps",
    "output_hidden_states": "leave it out, pass two computes the kept rows only",
    "output_router_logits": (
        "leave it out (with TRL: router_aux_loss_coef=0.0), the loss of the routers needs all rows"
    ),
    "logits_to_keep": "leave it out, a step returns the logits of the kept rows",
}
FLAGS = ("return_dict", "output_attentions", "output_hidden_states", "output_router_logits")
"""Arguments that a model takes from its config where they are not given."""

LOSSES = ("labels", "start_positions", "end_positions")
"""Arguments that ask a model for a loss."""


def bind(dense: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Name every argument of a call that is given one."""
    signature = inspect.signature(dense)
    arguments = dict(signature.bind(*args, **kwargs).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(parameter.name, {}))
    return {name: value for name, value in arguments.items() if value is not None}


def without_refused(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are given and have an effect.

    Raises:
        InputError: One of them asks for what a step over some rows cannot give.
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
    if given.pop("ignore_index", IGNORE_INDEX) != IGNORE_INDEX:
        raise InputError(
            f"ignore_index must be {IGNORE_INDEX} in a TokenSeek step; "
            "leave it out, and give that label to what has no target"
        )
    given.pop("use_cache", None)
    return given


def require_shapes(
    rowwise: Mapping[str, Tensor], mask: object, labels: Tensor, targets: Tensor | None
) -> None:
    """Refuse arguments that do not fit the tokens, which some models would broadcast.

    Raises:
        InputError: One of them has another shape.
    """
    tokens = rowwise["input_ids"] if "input_ids" in rowwise else rowwise["inputs_embeds"]
    b, s = tokens.shape[:2]
    of_tokens = {"labels": labels, "shift_labels": targets}
    shared = {name: rowwise.get(name) for name in ("position_ids", "token_type_ids")}
    for name, argument in (of_tokens | shared).items():
        fits = [(b, s)] if name in of_tokens else [(b, s), (1, s)]
        if argument is not None and tuple(argument.shape) not in fits:
            raise InputError(
                f"{name} ({list(argument.shape)}) must have shape [b, s], here {[b, s]}; "
                "give one entry for each token"
            )
    if mask is None:
        return
    shape = tuple(mask.shape) if isinstance(mask, Tensor) else ()
    if not (shape == (b, s) or (len(shape) == 4 and shape[0] in (1, b) and shape[2:] == (s, s))):
        raise InputError(
            f"attention_mask ({list(shape) or type(mask).__name__}) must have shape [b, s], here "
            f"{[b, s]}, or [b, h, s, s]; pass the tokenizer's"
        )

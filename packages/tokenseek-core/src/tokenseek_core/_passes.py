"""The two passes of a step over one model, and what goes into them.

Shapes: `b` batch, `s` sequence, `k` kept rows, `d` hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from tokenseek_common import InputError
from tokenseek_core._anatomy import Anatomy, replaced
from tokenseek_core._loss import IGNORE_INDEX, shift_labels
from tokenseek_core._record import Record
from tokenseek_core._replay import Replay
from tokenseek_core._selection import Selection
from tokenseek_core._tied import tied_gradient

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


@dataclass(frozen=True)
class Recorded:
    """Pass one's harvest.

    Args:
        record: Keys, values and masks.
        final: Final hidden states; with a graph down to `block_input` where one was asked for.
        block_input: z, input of the last block, or None.
    """

    record: Record
    final: Float[Tensor, "b s d"]
    block_input: Float[Tensor, "b s d"] | None


def record_pass(anatomy: Anatomy, batch: Batch, *, scored: bool) -> Recorded:
    """Run all rows without gradient and keep what pass two attends to.

    Args:
        anatomy: The model's parts.
        batch: The step's batch.
        scored: Whether the last block and the final norm run with gradient from the block's input
            on, so that a selector can look at adjoints without a forward of its own.

    Returns:
        The record, and the hidden states that scores are computed from.

    Raises:
        InputError: No attention call reached us.
    """
    record = Record(batch.valid, frozenset(anatomy.last_block.modules()) if scored else frozenset())
    block_inputs: list[Tensor] = []
    finals: list[Tensor] = []

    def start_graph(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        z = args[0].detach().requires_grad_()
        block_inputs.append(z)
        torch.set_grad_enabled(True)
        return (z, *args[1:]), kwargs

    def keep_final(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        torch.set_grad_enabled(False)
        finals.append(output.last_hidden_state)
        # One row is enough for the head: pass one needs no [s, v] logits.
        output.last_hidden_state = output.last_hidden_state[:, -1:].detach()
        return output

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for module in anatomy.checkpointed:  # nothing to save, and the graph must not be re-entered
            stack.enter_context(replaced(module, "gradient_checkpointing", False))
        if scored:
            hook = anatomy.last_block.register_forward_pre_hook(start_graph, with_kwargs=True)
            stack.callback(hook.remove)
        stack.callback(anatomy.backbone.register_forward_hook(keep_final).remove)
        anatomy.forward(
            **batch.rowwise,
            **batch.options,
            attention_mask=batch.attention_mask,
            use_cache=False,
            tokenseek=record,
        )
    if not record.layers:
        raise InputError(
            f"model ({type(anatomy.model).__name__}) must call transformers' attention interface "
            "with its keyword arguments; models that do not cannot be replayed"
        )
    return Recorded(record, finals[0], block_inputs[0] if scored else None)


def replay_pass(
    anatomy: Anatomy, batch: Batch, record: Record, selection: Selection
) -> CausalLMOutput:
    """Run the kept rows through the whole model against the recorded keys and values.

    Returns:
        The model's own output for the kept rows, logits [b, k, v].
    """
    rows = {name: selection.rows(value) for name, value in batch.rowwise.items()}
    # A mask of four axes is passed on as it is: from the gaps between positions, transformers would
    # infer packed sequences. The replay ignores it and takes rows of the recorded masks.
    passed_on = torch.zeros((len(selection.indices), 1, 1, 1), device=selection.indices.device)
    # Under autocast, pass one left copies of the weights behind that were cast without gradient.
    torch.clear_autocast_cache()
    with tied_gradient(anatomy):
        output: CausalLMOutput = anatomy.forward(
            **rows,
            **batch.options,
            attention_mask=passed_on,
            use_cache=False,
            tokenseek=Replay(record, selection),
        )
    return output


@contextmanager
def watch_final(anatomy: Anatomy) -> Iterator[list[Tensor]]:
    """Collect the final hidden states of every pass inside the block."""
    finals: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        finals.append(output.last_hidden_state)

    hook = anatomy.backbone.register_forward_hook(keep)
    try:
        yield finals
    finally:
        hook.remove()

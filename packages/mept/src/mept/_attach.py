"""The hooks of a whole model: what it was called with, its losses, and its `generate`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from mept._current import Call, Current, Generation
from mept._decoder import DecoderStack
from mept._encoder import EmbeddedStack, EncoderStack
from mept._families import Family, blocks_of, reads_only, stack_of, window_of
from mept._layer import PromptedBlock
from mept._routing import balance_loss, z_loss
from mept._scope import IGNORED
from mept._stack import Arguments, Stack, named_arguments
from tokenseek_common import InputError

if TYPE_CHECKING:
    from mept._config import MeptConfig

ATTRIBUTE = "_mept_attached"
"""Under which a model keeps what is attached to it."""


class Attached:
    """All that makes a model with prompted blocks work, but the blocks.

    Args:
        model: The whole model of transformers.
        family: Its family.
    """

    def __init__(self, model: PreTrainedModel, family: Family) -> None:
        self.family = family
        self.current = Current()
        self.stack = make_stack(model, family, self.current)
        self.handles: list[RemovableHandle] = [
            model.register_forward_pre_hook(self.enter, with_kwargs=True),
            *self.stack.attach(stack_of(model, family)),
            model.register_forward_hook(self.leave, always_call=True),
        ]
        if isinstance(self.stack, EncoderStack) and self.stack.is_read:
            decoder = model.base_model.get_submodule("decoder")
            hook = decoder.register_forward_pre_hook(self.stack.show_rows, with_kwargs=True)
            self.handles.append(hook)
        if model.can_generate():
            vars(model)["generate"] = PromptedGenerate(model, self)
        vars(model)[ATTRIBUTE] = self

    def remove(self, model: PreTrainedModel) -> None:
        """Leave the model as it was."""
        for handle in self.handles:
            handle.remove()
        vars(model).pop("generate", None)
        del vars(model)[ATTRIBUTE]

    def enter(
        self, model: PreTrainedModel, args: tuple[Any, ...], kwargs: Arguments
    ) -> tuple[tuple[()], Arguments]:
        """Note what the stack is not told."""
        arguments = named_arguments(model, args, kwargs)
        mask = arguments.pop("routing_mask", None)
        generation = self.current.generation
        if generation is not None and generation.turn is not None:
            self.current.generation = generation.turn
        if isinstance(self.stack, DecoderStack) and mask is None:
            self.stack.set_prompts_apart(stack_of(model, self.family), arguments)
        if isinstance(self.stack, EncoderStack):  # its states may be given, and it not called
            self.current.cross_rows = self.stack.kept_rows(stack_of(model, self.family))
        targets = arguments.get("num_items_in_batch")  # of the Trainer, which accumulates gradients
        self.current.call = Call(arguments.get("labels"), mask, targets, stack_alone=False)
        return (), arguments

    def leave(self, model: PreTrainedModel, args: tuple[Any, ...], output: Any) -> Any:
        """Add the losses of the routers to the model's."""
        call, self.current.call = self.current.call, Call()
        active = self.stack.active(stack_of(model, self.family))
        if output is None or active is None or not call.routings:  # None: the pass failed
            return output
        if not (model.training and torch.is_grad_enabled()):
            return output
        name, config = active
        self._warn_of_unfitted(model, name)
        if not (config.aux_loss_coef or config.z_loss_coef):
            return output
        if call.labels is None:
            warnings.warn(
                f"aux_loss_coef ({config.aux_loss_coef}) and z_loss_coef ({config.z_loss_coef}) "
                "have no effect, since the model was called without labels and returns no loss",
                stacklevel=2,
            )
            return output
        return with_loss(output, self._share_of_step(call) * router_loss(call, config))

    def _warn_of_unfitted(self, model: PreTrainedModel, name: str) -> None:
        """Say once that routers train from rows that were to be replaced first."""
        first = blocks_of(stack_of(model, self.family), self.family)[0]
        if not isinstance(first, PromptedBlock) or name not in first.unfitted:
            return
        first.unfitted.discard(name)
        warnings.warn(
            "router_init (kmeans) has no effect before mept.fit_routers(model, batches) is called, "
            "and training has begun from random rows; call it first, or choose orthogonal",
            stacklevel=2,
        )

    def _share_of_step(self, call: Call) -> Tensor | float:
        """How much of a step the loss of a call is, by its targets; the first token is none.

        The losses of decoders that predict tokens are made to be added up. Other heads take the
        mean of a call, however many targets its step is said to have.
        """
        predicts = isinstance(self.stack, DecoderStack) and not self.stack.reads_only
        if call.labels is None or call.step_targets is None or not predicts:
            return 1.0
        return (call.labels[..., 1:] != IGNORED).sum() / call.step_targets


def router_loss(call: Call, config: MeptConfig) -> Tensor:
    """The losses of the routers, averaged over layers."""
    balance = torch.stack([balance_loss(routing) for routing in call.routings.values()]).mean()
    large = torch.stack([z_loss(routing) for routing in call.routings.values()]).mean()
    return config.aux_loss_coef * balance + config.z_loss_coef * large


def with_loss(output: Any, extra: Tensor) -> Any:
    """Add to the loss of an output, which comes first where it is a tuple."""
    if isinstance(output, tuple):
        return (output[0] + extra, *output[1:])
    output["loss"] = output["loss"] + extra
    return output


def make_stack(model: PreTrainedModel, family: Family, current: Current) -> Stack:
    """Choose the hooks for a family."""
    if family.kind == "decoder":
        return DecoderStack(family, current, reads_only=reads_only(model), window=window_of(model))
    if family.kind == "embedded":
        return EmbeddedStack(family, current)
    return EncoderStack(family, current, getattr(model.base_model, "decoder", None))


class PromptedGenerate:
    """Stands in for a model's `generate`, and tells its routers what the prompt is.

    Args:
        model: The model.
        attached: What is attached to it.
    """

    def __init__(self, model: PreTrainedModel, attached: Attached) -> None:
        self.model = model
        self.attached = attached

    def __call__(self, *args: Any, routing_mask: Tensor | None = None, **kwargs: Any) -> Any:
        """Generate, with the routing of the prompt."""
        current = self.attached.current
        if self.attached.stack.active(stack_of(self.model, self.attached.family)) is not None:
            self._require_whole_prompt(kwargs)
        before, generation = current.generation, Generation(routing_mask)
        current.generation = generation
        if self._is_guided(kwargs):  # after each pass of the prompt comes one of the negative one
            generation.turn = current.generation = Generation(None, turn=generation)
        try:
            return type(self.model).generate(self.model, *args, **kwargs)  # type: ignore[attr-defined]
        finally:
            current.generation = before

    def _is_guided(self, kwargs: Arguments) -> bool:
        """Say whether a second pass leads each step away from a negative prompt."""
        settings = kwargs.get("generation_config") or self.model.generation_config
        return kwargs.get("guidance_scale", settings.guidance_scale) not in (None, 1)

    def _require_whole_prompt(self, kwargs: Arguments) -> None:
        """Refuse prompts in parts: routers must see all of it, and generate counts rows as tokens.

        Raises:
            InputError: A cache is filled, or chunks are asked for.
        """
        cache = kwargs.get("past_key_values")
        if cache is not None and cache.get_seq_length():
            raise InputError(
                f"past_key_values ({cache.get_seq_length()} rows) must be empty, generate would "
                "take its prompt rows for tokens; pass all tokens and no cache"
            )
        settings = kwargs.get("generation_config") or self.model.generation_config
        chunk = kwargs.get("prefill_chunk_size", settings.prefill_chunk_size)
        if chunk is not None:
            raise InputError(
                f"prefill_chunk_size ({chunk}) must be None, routers would see the first chunk "
                "alone; leave it out"
            )

"""Prompt rows in front of the tokens while a stack of blocks runs, and off again behind it."""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from mept._current import Call, Current, Prompted
from mept._families import Family, blocks_of
from mept._layer import PromptedBlock
from mept._routing import token_count
from mept._scope import expanded
from tokenseek_common import InputError

if TYPE_CHECKING:
    from mept._config import MeptConfig

Arguments = dict[str, Any]


class Stack(ABC):
    """Hooks around the blocks of a model: transformers builds masks and positions for P more rows.

    The rows are put there once, empty, and each block gets its own in their place. No module is
    kept here: a hook is given the one that runs, which may be a replica.

    Args:
        family: Where the blocks lie.
        current: The pass that runs now.
        window: The width of the sliding window of some layers, if there are any.
    """

    def __init__(self, family: Family, current: Current, window: int | None = None) -> None:
        self.family = family
        self.current = current
        self.window = window

    def attach(self, stack: PreTrainedModel) -> list[RemovableHandle]:
        """Put the hooks on a stack."""
        return [
            stack.register_forward_pre_hook(self.enter, with_kwargs=True),
            # Also where the pass failed: the next one must find nothing of it.
            stack.register_forward_hook(self.leave, always_call=True),
        ]

    def enter(
        self, stack: PreTrainedModel, args: tuple[Any, ...], kwargs: Arguments
    ) -> tuple[tuple[()], Arguments]:
        """Make place for the prompt rows in what the stack was called with."""
        arguments = named_arguments(stack, args, kwargs)
        mask = arguments.pop("routing_mask", None)
        if mask is not None:  # the stack was called by itself
            self.current.call.routing_mask = mask
        # Transformers refuses both and neither, in its own words.
        if (arguments.get("input_ids") is None) != (arguments.get("inputs_embeds") is None):
            self.prepare(stack, arguments)
        return (), arguments

    @abstractmethod
    def prepare(self, stack: PreTrainedModel, arguments: Arguments) -> None:
        """Change the arguments, and say in `current.prompted` that rows are there."""

    def leave(self, stack: PreTrainedModel, args: tuple[Any, ...], output: Any) -> Any:
        """Take the prompt rows off what the stack returns."""
        prompted, self.current.prompted = self.current.prompted, None
        if self.current.call.stack_alone:
            self.current.call = Call()
        if prompted is None or output is None:
            return output
        self.finish(stack, prompted, output)
        return output.to_tuple() if prompted.as_tuple else output

    def finish(self, stack: PreTrainedModel, prompted: Prompted, output: ModelOutput) -> None:
        """Take the rows off the output, which is a dictionary whatever the caller wants."""
        n = prompted.scope.shape[1]
        change_states(output, lambda states: states[:, -n:])

    def active(self, stack: PreTrainedModel) -> tuple[str, MeptConfig] | None:
        """The prompts in use and their settings, if any are.

        Those of inputs that differ in their adapters go by all names; what the stack reads of their
        settings is the same.
        """
        if self.current.is_bare:
            return None
        first = blocks_of(stack, self.family)[0]
        assert isinstance(first, PromptedBlock)
        adapters = self.current.adapters
        if adapters is not None and first.active is not None:
            return ", ".join(adapters), first.settings[adapters[0]]
        return None if first.active is None else (first.active, first.settings[first.active])

    def check_mixed(self, b: int) -> None:
        """Refuse other than one adapter for each input, or for the beams of each.

        Raises:
            InputError: They are not as many.
        """
        adapters, beams = self.current.adapters, self.current.generation is not None
        if adapters is not None and len(adapters) != b and (not beams or b % len(adapters)):
            raise InputError(
                f"adapter_names ({len(adapters)}) must be as many as the inputs ({b}); name one "
                "for each"
            )

    def read(
        self, stack: PreTrainedModel, arguments: Arguments
    ) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
        """Embed the tokens, by the model's own module, and find which of them are no padding."""
        embeddings = self.embed(stack, arguments)
        return embeddings, real_tokens(arguments.get("attention_mask"), embeddings[..., 0])

    def embed(self, stack: PreTrainedModel, arguments: Arguments) -> Float[Tensor, "b n d"]:
        """Embed the tokens, by the model's own module, unless they are given so.

        Raises:
            InputError: They are no rows of inputs.
        """
        embeddings: Tensor | None = arguments.get("inputs_embeds")
        if embeddings is None:
            embeddings = stack.get_input_embeddings()(arguments["input_ids"])
        if embeddings.ndim != 3:
            raise InputError(
                f"input_ids ({embeddings.ndim - 1}-D) must be 2-D, one row an input; flatten them"
            )
        return embeddings

    def prompt(
        self,
        stack: PreTrainedModel,
        arguments: Arguments,
        config: MeptConfig,
        embeddings: Float[Tensor, "b n d"] | None,
        scope: Bool[Tensor, "b n"],
        lead: Int[Tensor, " b"] | None = None,
    ) -> None:
        """Put empty rows in front of embeddings and mask, and note that they are there."""
        self.check_mixed(len(scope))
        rows = config.num_virtual_tokens
        mask = arguments.get("attention_mask")
        if mask is not None:
            arguments["attention_mask"] = F.pad(mask, (rows, 0), value=1)
        divisor = token_count(scope)
        if config.legacy_pool:
            divisor = rows + scope.sum(1, keepdim=True)
        self.run_with(stack, arguments, embeddings, Prompted(rows, scope, divisor, lead))

    def run_with(
        self,
        stack: PreTrainedModel,
        arguments: Arguments,
        embeddings: Float[Tensor, "b n d"] | None,
        prompted: Prompted,
    ) -> None:
        """Put empty rows in front of embeddings, and note that they are there."""
        if embeddings is not None:
            arguments["input_ids"] = None
            arguments["inputs_embeds"] = F.pad(embeddings, (0, 0, prompted.rows, 0))
        wanted = arguments.pop("return_dict", None)
        wanted = stack.config.return_dict if wanted is None else wanted
        arguments["return_dict"] = True  # names tell states from attentions
        self.current.prompted = replace(prompted, as_tuple=not wanted)

    def asked_scope(self, real: Bool[Tensor, "b n"]) -> Bool[Tensor, "b n"] | None:
        """The tokens that the caller lets routers see, if he said.

        Raises:
            InputError: The mask is not one value a token.
        """
        generation, mask = self.current.generation, self.current.call.routing_mask
        if generation is not None:
            mask = generation.routing_mask
        if mask is None:
            return None
        b, n = real.shape
        mask = mask.to(real.device).reshape(-1, mask.shape[-1])
        rows, tokens = mask.shape
        if b % rows or tokens > n or (generation is None and (rows, tokens) != (b, n)):
            raise InputError(
                f"routing_mask ({rows} x {tokens}) must be {b} x {n}, one value a token; "
                "give it the shape of input_ids"
            )
        return real & expanded(mask, b, n)

    def warn_of_window(self, rows: int, total: int) -> None:
        """Say once where tokens can no longer see the prompt rows in some layers."""
        if self.window is None or total <= self.window:
            return
        warnings.warn(
            f"sliding_window ({self.window}) is shorter than the {rows} prompt rows and the tokens "
            f"({total} rows): in the layers that have it, later tokens do not see the prompts, "
            "sooner so behind padding on the left",
            stacklevel=2,
        )
        self.window = None


def named_arguments(module: nn.Module, args: tuple[Any, ...], kwargs: Arguments) -> Arguments:
    """Name the arguments of a call that were given by place."""
    names = inspect.signature(module.forward).parameters
    return dict(zip(names, args, strict=False)) | kwargs


def change_states(output: ModelOutput, change: Callable[[Tensor], Tensor]) -> None:
    """Change all states in an output; those that were not asked for are None."""
    output["last_hidden_state"] = change(output["last_hidden_state"])
    if output.get("hidden_states") is not None:
        states = output["hidden_states"]
        output["hidden_states"] = tuple(None if s is None else change(s) for s in states)


def real_tokens(mask: Any, tokens: Shaped[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
    """What is no padding.

    Raises:
        InputError: The mask is no padding mask.
    """
    if mask is None:
        return torch.ones_like(tokens, dtype=torch.bool)
    require_padding_mask(mask)
    return cast(Tensor, mask).to(tokens.device).bool()


def require_padding_mask(mask: Any) -> None:
    """Refuse masks that prompt rows cannot be put in front of.

    Raises:
        InputError: The mask has been built already.
    """
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        kind = f"{mask.ndim}-D" if isinstance(mask, Tensor) else type(mask).__name__
        raise InputError(
            f"attention_mask ({kind}) must be 2-D, one value a token, so that prompt rows can be "
            "put in front; pass the mask of padding, or None"
        )

"""Stacks whose tokens all see each other: T5, BART, BERT and RoBERTa."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from mept._current import Current, Prompted
from mept._families import Family
from mept._stack import Arguments, Stack, change_states, named_arguments, real_tokens


class EncoderStack(Stack):
    """The encoder of an encoder-decoder, whose decoder sees the prompt rows if the config says so.

    T5's relative positions count the prompt rows. Padding on the left would come between these and
    the tokens, and it counts too: each input is moved forward, to the rows, and back again behind
    the stack. BART's positions are learned one by one: its tokens keep theirs.

    Args:
        family: Where the blocks lie.
        current: The pass that runs now.
        decoder: What reads the encoder's output, if anything does.
    """

    def __init__(self, family: Family, current: Current, decoder: nn.Module | None) -> None:
        super().__init__(family, current)
        self.is_read = decoder is not None

    def attach(self, stack: PreTrainedModel) -> list[RemovableHandle]:
        """Put the hooks on a stack, and on its positions where they are learned."""
        handles = super().attach(stack)
        positions = getattr(stack, "embed_positions", None)
        if positions is not None:
            handles.append(positions.register_forward_pre_hook(self.skip_rows))
            handles.append(positions.register_forward_hook(self.pad_rows))
        return handles

    def prepare(self, stack: PreTrainedModel, arguments: Arguments) -> None:
        """Put prompt rows in front of the embeddings."""
        active = self.active(stack)
        self.current.cross_rows = self.kept_rows(stack)
        if active is None:
            return
        embeddings, real = self.read(stack, arguments)
        scope = scope_of_all(self, real, active[1].legacy_pool)
        lead = None
        if self.family.relative and arguments.get("attention_mask") is not None:
            lead = (real.cumsum(1) == 0).sum(1)  # [b], the padding on the left
            embeddings = moved(embeddings, lead)
            scope = moved(scope, lead)
            arguments["attention_mask"] = moved(arguments["attention_mask"], lead)
        self.prompt(stack, arguments, active[1], embeddings, scope, lead)

    def finish(self, stack: PreTrainedModel, prompted: Prompted, output: ModelOutput) -> None:
        """Take the prompt rows off, unless a decoder is to see them."""
        if prompted.lead is not None:
            back = partial(moved_back, lead=prompted.lead, rows=prompted.rows)
            change_states(output, back)
        if not self.kept_rows(stack):
            super().finish(stack, prompted, output)

    def kept_rows(self, stack: PreTrainedModel) -> int:
        """How many prompt rows a decoder is to see."""
        active = self.active(stack)
        if active is None or not (self.is_read and active[1].cross_attend_prompts):
            return 0
        return active[1].num_virtual_tokens

    def skip_rows(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Let the first token have the first position."""
        prompted = self.current.prompted
        return args if prompted is None else (args[0][:, prompted.rows :], *args[1:])

    def pad_rows(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Give the prompt rows, which are replaced in front of the first block, no position."""
        prompted = self.current.prompted
        return output if prompted is None else F.pad(output, (0, 0, prompted.rows, 0))

    def show_rows(
        self, decoder: nn.Module, args: tuple[Any, ...], kwargs: Arguments
    ) -> tuple[tuple[()], Arguments]:
        """Let a decoder attend to the prompt rows in the states that it is given."""
        arguments = named_arguments(decoder, args, kwargs)
        states, mask = (arguments.get(f"encoder_{n}") for n in ("hidden_states", "attention_mask"))
        rows = self.current.cross_rows
        if states is not None and mask is not None and states.shape[1] == rows + mask.shape[1]:
            arguments["encoder_attention_mask"] = F.pad(mask, (rows, 0), value=1)
        return (), arguments


class EmbeddedStack(Stack):
    """BERT and its like, whose embeddings are a module: prompt rows come in behind it.

    Tokens keep positions and types, and the pooler sees the real first token.
    """

    def attach(self, stack: PreTrainedModel) -> list[RemovableHandle]:
        """Put the hooks on a stack and on its two parts."""
        return [
            *super().attach(stack),
            stack.get_submodule("embeddings").register_forward_hook(self.add_rows),
            stack.get_submodule("encoder").register_forward_hook(self.drop_rows),
        ]

    def prepare(self, stack: PreTrainedModel, arguments: Arguments) -> None:
        """Make place for the prompt rows in the mask."""
        active = self.active(stack)
        if active is not None:
            tokens = arguments.get("input_ids")
            tokens = arguments["inputs_embeds"][..., 0] if tokens is None else tokens
            real = real_tokens(arguments.get("attention_mask"), tokens)
            scope = scope_of_all(self, real, active[1].legacy_pool)
            self.prompt(stack, arguments, active[1], None, scope)

    def add_rows(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Put empty rows in front of the embeddings."""
        prompted = self.current.prompted
        return output if prompted is None else F.pad(output, (0, 0, prompted.rows, 0))

    def drop_rows(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Take the prompt rows off in front of the pooler."""
        prompted = self.current.prompted
        if prompted is not None:
            output["last_hidden_state"] = output["last_hidden_state"][:, prompted.rows :]
        return output


def scope_of_all(stack: Stack, real: Tensor, legacy_pool: bool) -> Tensor:
    """The tokens that an encoder's routers may look at: all, unless the caller says otherwise."""
    visible = torch.ones_like(real) if legacy_pool else real
    asked = stack.asked_scope(visible)
    return visible if asked is None else asked


def moved(rows: Shaped[Tensor, "b n *d"], lead: Int[Tensor, " b"]) -> Shaped[Tensor, "b n *d"]:
    """Move each input forward, by columns of its own; what leaves in front comes in behind."""
    n = rows.shape[1]
    order = (torch.arange(n, device=rows.device) + lead[:, None]) % n  # [b, n]
    return rows.take_along_dim(order.view(*order.shape, *[1] * (rows.ndim - 2)), dim=1)


def moved_back(
    states: Float[Tensor, "b p_n d"], lead: Int[Tensor, " b"], rows: int
) -> Float[Tensor, "b p_n d"]:
    """Undo `moved` behind the prompt rows."""
    return torch.cat([states[:, :rows], moved(states[:, rows:], -lead)], dim=1)

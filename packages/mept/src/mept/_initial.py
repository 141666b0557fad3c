"""Values that routers and experts start from.

They are drawn by plain functions of torch: while transformers loads a model, it switches those of
`torch.nn.init` off, and what they should have filled keeps whatever the memory held.

Shapes: `d` hidden size, `e` experts, `p` prompt rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from mept._families import Family, block_names, positions_of, stack_of
from tokenseek_common import InputError

if TYPE_CHECKING:
    from mept._config import MeptConfig

LOGIT_SCALE = 10.0
"""What the cosines of a router are multiplied by at first."""


class Initial(NamedTuple):
    """The trainable tensors of one layer."""

    router: Float[Tensor, "e d"]
    log_scale: Float[Tensor, "1"] | None
    experts: Float[Tensor, "e p d"]
    shared: Float[Tensor, "p d"] | None


class Start(NamedTuple):
    """What prompts of one layer start from instead of random numbers."""

    experts: Float[Tensor, "e p d"] | None = None
    shared: Float[Tensor, "p d"] | None = None


def initial(config: MeptConfig, hidden_size: int, start: Start) -> Initial:
    """Draw them: orthogonal rows of a router, experts as asked for, and a small shared expert.

    The shared expert is never zero, where the norm of a pre-norm block multiplies gradients by a
    thousand.

    Args:
        config: What is asked for.
        hidden_size: The width of rows.
        start: What `starts` read off the model for this layer.
    """
    size = (config.num_experts, config.num_virtual_tokens, hidden_size)
    experts, shared = start
    if experts is None and config.init == "xavier":
        bound = math.sqrt(6 / sum(size[1:]))
        experts = (2 * torch.rand(size) - 1) * bound
    if experts is None:
        experts = config.init_std * torch.randn(size)
    if shared is None and config.shared_expert:
        shared = config.init_std * torch.randn(size[1:])
    log_scale = torch.tensor([math.log(LOGIT_SCALE)]) if config.router == "cosine" else None
    router = _orthogonal(config.num_experts, hidden_size)
    if config.router == "cosine":
        router = router * row_length(hidden_size)
    return Initial(router, log_scale, experts, shared)


def row_length(hidden_size: int) -> float:
    """How long the rows of cosine routers are at first: of unit mean square.

    Only their direction counts, and optimizers that move every number by about the learning rate
    turn shorter ones further: rows of length 1 are turned to what all inputs have in common, away
    from what tells them apart, within some ten steps.
    """
    return math.sqrt(hidden_size)


def starts(model: PreTrainedModel, family: Family, config: MeptConfig) -> dict[str, Start]:
    """Read off a model what prompts are to start from, by the name of the layer.

    "vocab" has embeddings of random tokens for the experts of the first layer. "hidden" has, for
    every layer, what the model makes of a text of random tokens. It is the shared expert, so that
    all inputs start alike: a decoder with rotary positions starts as if that text stood before its
    input. Without a shared expert, every expert has a text of its own.

    Nothing is read for inference, where trained prompts take the place of these, nor off a model
    that has shapes alone.

    Args:
        model: The whole model; none of it is changed.
        family: Its family.
        config: What is asked for.

    Raises:
        InputError: The model has no positions for a text of that length.
    """
    if config.init not in ("vocab", "hidden") or config.inference_mode:
        return {}
    device, _ = place_of(model.get_input_embeddings())
    if device.type == "meta":
        return {}
    names = block_names(model, family)
    e, p = config.num_experts, config.num_virtual_tokens
    texts = 1 if config.init == "hidden" and config.shared_expert else e
    tokens = torch.randint(model.config.vocab_size, (texts, p), device=device)
    if config.init == "vocab":
        with torch.no_grad():
            return {names[0]: Start(experts=model.get_input_embeddings()(tokens).detach())}
    if p > (most := positions_of(model.config)):
        raise InputError(
            f"num_virtual_tokens ({p}) must be at most {most}, the positions that the model has, "
            "where prompts start from hidden states; lower it, or choose another init"
        )
    states = _hidden_states(stack_of(model, family), tokens)
    read = [Start(shared=s[0]) if config.shared_expert else Start(experts=s) for s in states]
    return dict(zip(names, read, strict=True))


def place_of(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where a module computes, and in which type prompts for it are kept: float32 at least."""
    parameter = next(p for p in module.parameters() if p.is_floating_point())
    device = parameter.device
    if device.type == "meta":  # accelerate brings these weights when they are needed
        hooks = (getattr(part, "_hf_hook", None) for part in module.modules())
        device = next((torch.device(h.execution_device) for h in hooks if h is not None), device)
    return device, torch.promote_types(parameter.dtype, torch.float32)


def _hidden_states(
    stack: PreTrainedModel, tokens: Int[Tensor, "b p"]
) -> list[Float[Tensor, "b p d"]]:
    """What enters each block of a stack, without dropout."""
    training = [module for module in stack.modules() if module.training]
    stack.eval()
    try:
        with torch.no_grad():
            output = stack(input_ids=tokens, output_hidden_states=True, return_dict=True)
    finally:
        for module in training:
            module.training = True
    # The last leaves the last block. Embeddings may have been told to require gradients.
    return [state.detach() for state in output.hidden_states[:-1]]


def _orthogonal(rows: int, columns: int) -> Float[Tensor, "rows columns"]:
    """A random matrix whose rows, or columns if they are fewer, are orthonormal."""
    tall = torch.linalg.qr(torch.randn(max(rows, columns), min(rows, columns))).Q
    matrix: Tensor = tall.T if rows < columns else tall
    return matrix

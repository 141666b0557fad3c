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
from torch import Tensor
from transformers import PreTrainedModel

from mept._families import Family, block_names, positions_of, stack_of
from tokenseek_common import InputError

if TYPE_CHECKING:
    from mept._config import MeptConfig


class Initial(NamedTuple):
    """The trainable tensors of one layer."""

    router: Float[Tensor, "e d"]
    experts: Float[Tensor, "e p d"]
    shared: Float[Tensor, "p d"] | None


def initial(
    *,
    init: str,
    std: float,
    num_experts: int,
    rows: int,
    hidden_size: int,
    shared_expert: bool,
    start: Float[Tensor, "... p d"] | None,
) -> Initial:
    """Draw them: an orthogonal router, experts as asked for, and a small shared expert.

    The shared expert is never zero, where the norm of a pre-norm block multiplies gradients by a
    thousand.

    Args:
        init: "normal", "xavier", "vocab" or "hidden".
        std: Standard deviation of what is drawn from the normal distribution.
        num_experts: Experts of the layer.
        rows: Prompt rows of each.
        hidden_size: Their width.
        shared_expert: Whether there is one.
        start: What `starts` read off the model for this layer: [p, d] is the shared expert,
            [e, p, d] are the others.
    """
    size = (num_experts, rows, hidden_size)
    if start is not None and start.ndim == 3:
        experts = start
    elif init == "xavier":
        bound = math.sqrt(6 / (rows + hidden_size))
        experts = (2 * torch.rand(size) - 1) * bound
    else:
        experts = std * torch.randn(size)
    shared = std * torch.randn(rows, hidden_size) if shared_expert else None
    if start is not None and start.ndim == 2:
        shared = start
    return Initial(_orthogonal(num_experts, hidden_size), experts, shared)


def starts(
    model: PreTrainedModel, family: Family, config: MeptConfig
) -> dict[str, Float[Tensor, "... p d"]]:
    """Read off a model what prompts are to start from, by the name of the layer.

    "vocab" has embeddings of random tokens for the experts of the first layer. "hidden" has, for
    every layer, what the model makes of a text of random tokens in front of it: a decoder then
    starts as if that text stood before its input. It is the shared expert, so that all inputs start
    alike; without one, every expert has a text of its own.

    Args:
        model: The whole model; none of it is changed.
        family: Its family.
        config: What is asked for.

    Raises:
        InputError: The model has no positions for a text of that length.
    """
    names = block_names(model, family)
    e, p = config.num_experts, config.num_virtual_tokens
    if config.init == "vocab":
        with torch.no_grad():
            return {names[0]: model.get_input_embeddings()(_random_tokens(model, e, p))}
    if config.init != "hidden":
        return {}
    if p > (most := positions_of(model.config)):
        raise InputError(
            f"num_virtual_tokens ({p}) must be at most {most}, the positions that the model has, "
            "where prompts start from hidden states; lower it, or choose another init"
        )
    tokens = _random_tokens(model, 1 if config.shared_expert else e, p)
    states = _hidden_states(stack_of(model, family), tokens)
    if config.shared_expert:
        states = [state[0] for state in states]
    return dict(zip(names, states, strict=True))


def _random_tokens(model: PreTrainedModel, texts: int, length: int) -> Int[Tensor, "texts length"]:
    """Tokens of the vocabulary, where the model wants them."""
    weight = model.get_input_embeddings().get_parameter("weight")
    return torch.randint(weight.shape[0], (texts, length), device=weight.device)


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
    return list(output.hidden_states[:-1])  # the last leaves the last block


def _orthogonal(rows: int, columns: int) -> Float[Tensor, "rows columns"]:
    """A random matrix whose rows, or columns if they are fewer, are orthonormal."""
    tall = torch.linalg.qr(torch.randn(max(rows, columns), min(rows, columns))).Q
    matrix: Tensor = tall.T if rows < columns else tall
    return matrix

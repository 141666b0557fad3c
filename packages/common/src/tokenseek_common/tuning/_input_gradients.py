"""Gradients that flow through a frozen module's output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle


def input_gradients(module: nn.Module) -> RemovableHandle:
    """Let what a module gives require gradient, though nothing in it is trained.

    Reentrant checkpointing computes the gradients of adapters only where an input of the block
    requires gradient, and frozen embeddings give none that does. It changes no gradient, and costs
    that of the module's output.

    Args:
        module: What gives the inputs, as the embedding of a model; of its outputs, however they
            are nested, those in floating point.

    Returns:
        A handle with `remove()`, and a context that removes it.

    Example:
        >>> embedding = nn.Embedding(3, 2).requires_grad_(False)
        >>> with input_gradients(embedding):
        ...     embedding(torch.tensor([1])).requires_grad
        True
        >>> embedding(torch.tensor([1])).requires_grad
        False
    """
    return module.register_forward_hook(lambda module, args, output: tree_map(_leaf, output))


def _leaf(output: Any) -> Any:
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return output
    if output.requires_grad or not torch.is_grad_enabled():
        return output
    return output.detach().requires_grad_()  # its own, since it may be a weight of the module

"""The ways in which a pass over all rows runs a block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from tokenseek_common.tuning import trainability_restored
from tokenseek_core._anatomy import replaced


def own_forward(module: nn.Module) -> Callable[..., Any]:
    """The forward of `module`."""
    return module.forward


def frozen(module: nn.Module) -> Callable[..., Any]:
    """The forward of `module` with parameters that ask for no gradient."""
    forward = module.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        with trainability_restored(module):
            module.requires_grad_(False)
            return forward(*args, **kwargs)

    return run


def recomputed(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    """A `forward` of `block` that keeps its input alone, and is run again in backward."""

    def run(*args: Any, tokenseek: object, **kwargs: Any) -> Any:
        passes = [tokenseek]  # for the first run alone: the record must not live until the second

        def once(*args: Any, **kwargs: Any) -> Any:
            # The block's own checkpointing, which may be on again by then, would nest in ours.
            with replaced(block, "gradient_checkpointing", False):
                return forward(*args, tokenseek=passes.pop() if passes else None, **kwargs)

        return checkpoint(once, *args, use_reentrant=False, **kwargs)

    return run

"""The feed-forward part of a block, a tile of tokens at a time.

Blocks mix tokens in their attention alone, which the check before the first step shows. What feeds
forward is several times as wide as the hidden states, and makes the largest tensors of a pass over
all rows; tile after tile they are as small as one likes. With gradient, each tile is computed again
in the backward pass, so that only its input is kept.

Shapes: `b` batch, `s` sequence, `h` hidden size.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tokenseek_core._anatomy import replaced
from tokenseek_core._chunks import chunk_bytes

LEAST = 64 * 2**20
"""Bytes up to which the widest tensor of such a part is made whole, also where memory is short: a
second computation in the backward pass is to be worth its time."""

Forward = Callable[..., Any]


def in_tiles(
    block: nn.Module, forward: Forward, of_part: Callable[[nn.Module], Forward]
) -> Forward:
    """A `forward` of `block` that feeds forward in tiles.

    Args:
        block: A decoder's block.
        forward: How it would run.
        of_part: The forward of one of its modules.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        with tiled(block, of_part):
            return forward(*args, **kwargs)

    return run


@contextmanager
def tiled(block: nn.Module, of_part: Callable[[nn.Module], Forward]) -> Iterator[None]:
    """Let the parts of `block` that feed forward run in tiles."""
    with ExitStack() as stack:
        for part in block.children():
            if feeds_forward(part):
                tiles = functools.partial(run_tiles, of_part(part), widest(part))
                stack.enter_context(replaced(part, "forward", tiles))
        yield


def run_tiles(forward: Forward, width: int, hidden: Tensor) -> Any:
    """Run `forward` over tiles of `hidden`, [b, s, h], if `width` numbers a token are many."""
    tokens = max(LEAST, chunk_bytes(hidden)) // (len(hidden) * width * hidden.dtype.itemsize)
    if hidden.ndim != 3 or tokens >= hidden.shape[1]:
        return forward(hidden)
    tiles = hidden.split(max(1, tokens), dim=1)
    outputs = [checkpoint(forward, tile.contiguous(), use_reentrant=False) for tile in tiles]
    return torch.cat(outputs, dim=1)


def feeds_forward(part: nn.Module) -> bool:
    """Whether a module takes hidden states and nothing else, and widens them.

    A projection alone does not, since its whole output is wanted.
    """
    taken = list(inspect.signature(part.forward).parameters.values())
    alone = len(taken) == 1 and taken[0].kind is not inspect.Parameter.VAR_KEYWORD
    return alone and widest(part) > 0


def widest(part: nn.Module) -> int:
    """The most features that a projection inside `part` makes; GPT-2's calls them otherwise."""
    sizes = [
        getattr(module, name, 0)
        for module in part.modules()
        if module is not part
        for name in ("out_features", "nf")
    ]
    return max(sizes, default=0)

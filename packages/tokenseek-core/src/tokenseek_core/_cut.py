"""Blocks that run the kept rows of what comes to them, where the model around them runs all.

Models that cannot be given some of their tokens (pictures, positions of their own making, pooling
heads) are given all of them in both passes. Hooks on the blocks take the kept rows out in front of
the first, and put them back among the recorded ones behind the last where a head reads several.
They stay on while TokenSeek is applied, and hold no state: it comes with the arguments of the
block, so that a recomputation under checkpointing meets it too. Attention of some towers keeps
those arguments to itself; while it runs, the module holds what it should have passed on.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tokenseek_common.rows import RowSelection
from tokenseek_core._anatomy import Anatomy
from tokenseek_core._attention import HELD
from tokenseek_core._record import hidden_of
from tokenseek_core._replay import Replay


def cut_blocks(anatomy: Anatomy) -> list[RemovableHandle]:
    """Let the blocks of a model that is given all rows run the kept ones in a replay.

    Returns:
        What takes the hooks off again.
    """
    blocks, of_encoder = list(anatomy.blocks), list(anatomy.encoder_blocks or ())
    handles = [
        block.register_forward_pre_hook(
            functools.partial(_take_rows, stack is of_encoder, block is stack[0]),
            with_kwargs=True,
            prepend=True,
        )
        for stack in (blocks, of_encoder)
        for block in stack
    ]
    if anatomy.kind == "whole":
        handles.append(blocks[-1].register_forward_hook(_put_back, with_kwargs=True))
    for module in anatomy.inside:
        if takes_any(module.forward):
            handles.append(module.register_forward_pre_hook(_hold, with_kwargs=True))
            handles.append(module.register_forward_hook(_let_go, always_call=True))
    return handles


def takes_any(function: Callable[..., Any]) -> bool:
    """Whether a function takes keyword arguments that it does not name."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _hold(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if kwargs.get("tokenseek") is not None:
        vars(module)[HELD] = kwargs["tokenseek"]


def _let_go(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    vars(module).pop(HELD, None)


class _SeenError(Exception):
    """What came to the first block is known."""


def shape_at_blocks(anatomy: Anatomy, arguments: Mapping[str, Any]) -> tuple[int, int]:
    """Instances, and rows of them, that come to the blocks, those of an encoder first: [b, s].

    What makes rows of a picture says it only when it runs.
    """
    tokens = arguments.get("input_ids")
    if tokens is not None:  # of several choices, too
        return tokens[..., 0].numel(), tokens.shape[-1]
    shapes: list[tuple[int, int]] = []

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        b, s = (args[0] if args else kwargs["hidden_states"]).shape[:2]
        shapes.append((b, s))
        raise _SeenError

    hook = (anatomy.encoder_blocks or anatomy.blocks)[0].register_forward_pre_hook(
        look, with_kwargs=True, prepend=True
    )
    try:
        with torch.no_grad():
            anatomy.forward(**arguments)
    except _SeenError:
        pass
    finally:
        hook.remove()
    return shapes[0]


def _take_rows(
    encodes: bool, first: bool, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Give a block the kept rows alone, and the positions of them."""
    replay = kwargs.get("tokenseek")
    if not isinstance(replay, Replay):
        return None
    stack = replay.encoder if encodes else replay.stack
    assert stack is not None
    slots = stack.rows.slots
    kwargs = kwargs | {
        name: _of_rows(kwargs[name], slots, axis)
        for name, axis in (("position_embeddings", -2), ("position_ids", -1))
        if kwargs.get(name) is not None
    }
    if first and args:
        args = (stack.rows.rows(args[0]), *args[1:])
    elif first:
        kwargs["hidden_states"] = stack.rows.rows(kwargs["hidden_states"])
    return args, kwargs


def _of_rows(positions: Any, slots: Tensor, axis: int) -> Any:
    """Rows of what has an entry for each of them along an axis, or of each part of a pair."""
    if isinstance(positions, tuple):
        return tuple(_of_rows(part, slots, axis) for part in positions)
    index = slots.to(positions.device)
    return torch.take_along_dim(positions, index if axis == -1 else index[..., None], dim=axis)


def _put_back(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Put the kept rows among those that pass one made."""
    replay = kwargs.get("tokenseek")
    if not isinstance(replay, Replay) or replay.record.top is None:
        return output
    merged = _merged(replay.stack.rows, replay.record.top, hidden_of(output), replay.weights)
    return merged if isinstance(output, Tensor) else (merged, *output[1:])


def _merged(
    rows: RowSelection,
    recorded: Float[Tensor, "b s h"],
    live: Float[Tensor, "b k h"],
    weights: Float[Tensor, "b k"] | None,
) -> Float[Tensor, "b s h"]:
    """All rows, of which the kept ones are alive; their gradient counts by weight."""
    if weights is not None:
        constant = live.detach()
        live = constant + (live - constant) * weights[..., None].to(live)
    return rows.merged(recorded, live)

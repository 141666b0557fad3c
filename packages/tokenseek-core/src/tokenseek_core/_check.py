"""The self-check: replayed rows must equal the rows of the full pass, and so must a gradient.

It finds every way of mixing tokens that is not attention (convolutions, state spaces, positions
that depend on the length), and gradients that go another way than through queries, keys and values
(masks that depend on values), before a step could train on wrong values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from tokenseek_common import InputError
from tokenseek_core._anatomy import Anatomy
from tokenseek_core._batch import Batch
from tokenseek_core._record import record_pass
from tokenseek_core._replay import replay_pass
from tokenseek_core._selection import Selection, Stratum, select

TOLERANCE = {
    torch.float64: 1e-6,  # some models compute norms and softmax in float32 whatever their dtype
    torch.float32: 1e-4,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}
"""Largest allowed deviation, as a share of the largest number that is compared."""

REDUCED_PRECISION = 2e-2
"""The same where float32 matrices are multiplied in TensorFloat-32 or bfloat16."""

GRADIENT = 5e-2
"""The same for gradients: another way for them to go changes them grossly, and a model whose own
forward switches to half precision, as accelerate's does, has them less precise than their type."""


ROWS = 512
"""Rows of an instance that are compared at most: more show nothing else, and would be the largest
tensors of a long sequence's first step."""


@torch.no_grad()
def self_check(anatomy: Anatomy, batch: Batch, *, offload: bool = False) -> float:
    """Compare final states and one gradient, without dropout.

    Args:
        anatomy: The model's parts.
        batch: The step's batch.
        offload: Whether the host keeps the keys and values.

    Returns:
        The larger deviation, as a share of the largest number that is compared.

    Raises:
        InputError: A deviation is above the dtype's tolerance, or there is none of NaN.
    """
    name = type(anatomy.model).__name__
    with evaluating(anatomy.model):
        states, gradients = compared(anatomy, batch, offload=offload)
    for of, (_, expected) in (("final hidden states", states), ("a gradient", gradients)):
        if not expected.isfinite().all():
            raise InputError(
                f"model ({name}) must compute finite numbers, but has NaN or infinities in {of} of "
                "the full pass, without TokenSeek too; look for them in its weights, or leave "
                "padding out, of which eager attention makes NaN in float64"
            )
    of_states = deviation(*states)
    if not of_states <= tolerance(states[1]):
        raise InputError(
            f"model ({name}) must mix tokens in attention only: replayed rows differ from the "
            f"full pass by {of_states:.2g} of the largest hidden state; train it without TokenSeek"
        )
    of_gradients = deviation(*gradients)
    if not of_gradients <= max(tolerance(gradients[1]), GRADIENT):
        raise InputError(
            f"model ({name}) must learn through queries, keys and values of attention only: the "
            f"gradient of replayed rows differs from the full pass's by {of_gradients:.2g} of the "
            "largest; train it without TokenSeek"
        )
    return max(of_states, of_gradients)


def compared(
    anatomy: Anatomy, batch: Batch, *, offload: bool = False
) -> tuple[tuple[Tensor, ...], ...]:
    """Every other token of the first half, replayed and in the full pass.

    Tokens with gaps between them show convolutions; early ones alone show lengths that matter.

    Returns:
        The rows' final states in both, and the gradient of a function of these by the last block's
        input. Of one block, kept rows have the whole gradient that goes between them.

    Raises:
        InputError: The mask that the block gave its attention has a gradient of its own.
    """
    recorded = record_pass(anatomy, batch, graph_blocks=1, offload=offload)
    batch = batch.to(recorded.final.device)
    selection = every_other(batch.valid, batch.counts.lengths)
    if batch.source is not None:
        source = every_other(batch.source.valid, batch.source.lengths)
        selection = replace(selection, source=source)
    masks = [layer.mask for layer in recorded.record.layers.values()]
    if any(mask is not None and mask.requires_grad for mask in masks):
        raise InputError(
            f"model ({type(anatomy.model).__name__}) must learn through queries, keys and values "
            "of attention only, not through its mask; train it without TokenSeek"
        )
    expected = selection.rows(recorded.final.detach())
    # Any direction but those in which norms have no slope.
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(expected.shape, generator=generator).to(expected)
    direction = direction * selection.active[..., None]
    of_all = torch.zeros_like(recorded.final).scatter_(
        1, selection.indices[..., None].expand_as(direction), direction
    )
    assert recorded.block_input is not None
    # Before the replay, which writes into the keys and values that this graph holds.
    whole = anatomy.pull_back(recorded.final, recorded.block_input, of_all)
    inputs: list[Tensor] = []

    def start_graph(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        inputs.append(args[0].detach().requires_grad_())
        torch.set_grad_enabled(True)
        return (inputs[0], *args[1:])

    hook = anatomy.blocks[-1].register_forward_pre_hook(start_graph)
    try:
        replayed = replay_pass(anatomy, batch, recorded.record, selection)
    except (IndexError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError | torch.OutOfMemoryError):
            raise
        raise InputError(
            f"model ({type(anatomy.model).__name__}) must run some of its rows as it runs all, but "
            f"fails ({error}); train it without TokenSeek"
        ) from error
    finally:
        hook.remove()
    ours = anatomy.pull_back(replayed.hidden, inputs[0], direction)
    rows = recorded.record.rows(selection)  # with those that an adapter put in front

    def among(active: Tensor, *compared: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.to(active.device).masked_fill(~active[..., None], 0) for x in compared)

    return (
        among(selection.active, replayed.hidden.detach(), expected),
        among(rows.active, ours, rows.rows(whole.to(rows.active.device))),
    )


def every_other(valid: Bool[Tensor, "b s"], lengths: Sequence[int]) -> Selection:
    """Every other token of the first half of each instance, up to a number."""
    rank = valid.cumsum(1) - 1
    scores = ((rank % 2 == 0) & (rank < valid.sum(1, keepdim=True) / 2)).float()
    return select(scores, [Stratum(valid, lengths, min(0.25, ROWS / max(lengths)))])


def deviation(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest number."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


def tolerance(expected: Tensor) -> float:
    """The deviation up to which numbers count as equal, by the type that they were computed in."""
    device, dtype = expected.device.type, expected.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    allowed = TOLERANCE.get(dtype, TOLERANCE[torch.bfloat16])
    reduced = torch.get_float32_matmul_precision() != "highest"
    return max(allowed, REDUCED_PRECISION) if reduced else allowed


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch everything that trains to evaluation while a block runs.

    But for layers of bitsandbytes, which know no dropout, and pack their weights for inference,
    for good, once they evaluate on some CPUs.
    """
    training = [
        module
        for module in model.modules()
        if module.training and not type(module).__module__.startswith("bitsandbytes.")
    ]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True

"""The self-check: replayed rows must equal the rows of the full pass.

It finds every way of mixing tokens that is not attention (convolutions, state spaces, positions
that depend on the length) before a step could train on wrong values.
"""

from __future__ import annotations

import torch

from tokenseek_common import InputError
from tokenseek_core._anatomy import Anatomy
from tokenseek_core._batch import Batch
from tokenseek_core._record import record_pass
from tokenseek_core._replay import replay_pass
from tokenseek_core._selection import select

TOLERANCE = {
    torch.float64: 1e-6,  # some models compute norms and softmax in float32 whatever their dtype
    torch.float32: 1e-4,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}
"""Largest allowed deviation, as a share of the largest hidden state."""

REDUCED_PRECISION = 2e-2
"""The same where float32 matrices are multiplied in TensorFloat-32 or bfloat16."""


@torch.no_grad()
def self_check(anatomy: Anatomy, batch: Batch) -> float:
    """Replay every other token of the first half, without dropout, and compare final states.

    Tokens with gaps between them show convolutions; early ones alone show lengths that matter.

    Returns:
        The largest deviation, as a share of the largest final hidden state.

    Raises:
        InputError: The deviation is above the dtype's tolerance.
    """
    rank = batch.valid.cumsum(1) - 1
    half = batch.valid.sum(1, keepdim=True) / 2
    scores = ((rank % 2 == 0) & (rank < half)).float()
    selection = select(
        scores, batch.valid, batch.supervised, batch.counts.lengths, ratio=0.25, min_supervised=0
    )
    training = [module for module in anatomy.model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        recorded = record_pass(anatomy, batch)
        replayed = replay_pass(anatomy, batch, recorded.record, selection)
    finally:
        for module in training:
            module.training = True
    expected = selection.rows(recorded.final)
    differing = (replayed.hidden - expected)[selection.active].abs().max()
    deviation = float(differing / expected[selection.active].abs().max().clamp(min=1e-30))
    tolerance = TOLERANCE.get(expected.dtype, TOLERANCE[torch.bfloat16])
    if torch.get_float32_matmul_precision() != "highest":
        tolerance = max(tolerance, REDUCED_PRECISION)
    if not deviation <= tolerance:
        raise InputError(
            f"model ({type(anatomy.model).__name__}) must mix tokens in attention only: replayed "
            f"rows differ from the full pass by {deviation:.2g} of the largest hidden state; "
            "train it without TokenSeek"
        )
    return deviation

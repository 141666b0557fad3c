"""How much of the gradient goes through tokens that a step leaves out.

Shapes: `b` batch, `s` sequence.
"""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor

from tokenseek_core._anatomy import Anatomy
from tokenseek_core._batch import Batch
from tokenseek_core._check import evaluating
from tokenseek_core._head import Head
from tokenseek_core._record import record_pass

MUCH = 0.5
"""A share from which on it is said."""


def left_out_share(anatomy: Anatomy, batch: Batch, keep: Bool[Tensor, "b s"]) -> float:
    """Share of the dense adjoint's squared norm, at the first block's input, of tokens not kept.

    A dense pass forward and back, by the rows alone: no parameter gets a gradient, blocks keep
    their inputs alone, and no logits of more than a chunk of rows exist.

    Args:
        anatomy: The model's parts.
        batch: What it is taken of.
        keep: Tokens that a step keeps.

    Returns:
        In [0, 1]; 0 where nothing carries a loss.
    """
    with evaluating(anatomy.model):  # dropout would draw, and the run be another one
        recorded = record_pass(anatomy, batch, graph_blocks=len(anatomy.blocks), exact=True)
        batch = batch.to(recorded.final.device)
        head = Head(anatomy, batch.targets, batch.counts.total)
        assert recorded.block_input is not None
        by_final = head.row_losses(recorded.final).adjoint
        adjoint = anatomy.pull_back(recorded.final, recorded.block_input, by_final)
    tokens = adjoint[:, recorded.record.adapters.prepended :]
    norms = tokens.double().square().sum(-1)  # [b, s]
    total = norms.sum()
    if not total:
        return 0.0
    return float(norms[~keep.to(norms.device)].sum() / total)

"""How much of the gradient goes through tokens that a step leaves out.

Shapes: `b` batch, `s` sequence.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from tokenseek_core._anatomy import Anatomy
from tokenseek_core._batch import Batch
from tokenseek_core._check import evaluating
from tokenseek_core._config import TokenSeekConfig
from tokenseek_core._head import Head
from tokenseek_core._record import record_pass
from tokenseek_core._step import StepReport

MUCH = 0.5
"""A share from which on it is said."""

LOOKED_AT = (10, 100, 1000)
"""Steps from which on the gradient through tokens that are left out is compared with the whole:
what must be read off a prompt may be learnt late, and little goes through it before."""

LOOKS = 4
"""Steps in a row, of which one instance each is looked at."""


class Looking:
    """Looks, after the first steps, at what goes through the tokens that are left out."""

    def __init__(self) -> None:
        self._steps = 0
        self._shares: list[float] = []

    def after(
        self, anatomy: Anatomy, batch: Batch, report: StepReport, config: TokenSeekConfig
    ) -> str | None:
        """Count a step, look if it is time to, and give what is to be said of it."""
        self._steps += 1
        since = self._steps - max((first for first in LOOKED_AT if first <= self._steps), default=0)
        if self._steps < LOOKED_AT[0] or since >= LOOKS:
            return None
        keep = torch.zeros_like(batch.valid[:1])
        keep.scatter_(1, report.indices[:1].to(keep.device), report.active[:1].to(keep.device))
        self._shares.append(left_out_share(anatomy, batch.first(), keep))
        share = sum(self._shares[-LOOKS:]) / LOOKS
        if since < LOOKS - 1 or share <= MUCH:
            return None
        return (
            f"{share:.0%} of the gradient would go through prompt tokens that are left out: "
            "what the answers must read off the prompt may be learnt late; should the loss "
            f"stay behind, take a larger ratio than {config.ratio:g}"
        )


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

"""What a selector may look at: cheap by-products of pass one, the dearer ones computed on demand.

Shapes: `b` batch, `s` sequence, `d` hidden size, `m` rows of one chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tokenseek_core._anatomy import Anatomy
from tokenseek_core._loss import IGNORE_INDEX
from tokenseek_core._scores import gradient_magnitude

MIN_CHUNK = 128
"""Rows that a chunk of logits has at least, where the replay itself would need fewer."""


@dataclass
class Signals:
    """The evidence about each token of a batch.

    Args:
        input_ids: Tokens, [b, s]; None where the model was called with embeddings.
        labels: Labels as the model was given them, not shifted, [b, s].
        targets: Target of each row, the next token's label; -100 has none, [b, s].
        valid: Tokens that are not padding, [b, s].
        context: I1, attention that each token receives in the last block (Eq. 3), [b, s].
        block_input: z, input of the last block; its graph ends there, [b, s, d].
        final: Final hidden states that were computed from `block_input`, [b, s, d].
        anatomy: The model's parts.
        chunk: Rows whose logits may exist at a time.
    """

    input_ids: Int[Tensor, "b s"] | None
    labels: Int[Tensor, "b s"]
    targets: Int[Tensor, "b s"]
    valid: Bool[Tensor, "b s"]
    context: Float[Tensor, "b s"]
    block_input: Float[Tensor, "b s d"]
    final: Float[Tensor, "b s d"]
    anatomy: Anatomy
    chunk: int

    @cached_property
    def gradient(self) -> Float[Tensor, "b s"]:
        """I2, the magnitude of the loss's adjoint at the input of the last block (Eq. 4).

        A partial backward through head, final norm and last block; no parameter gets a gradient.
        """
        adjoint, _ = self._head
        return gradient_magnitude(self.anatomy.pull_back(self.final, self.block_input, adjoint))

    @cached_property
    def token_loss(self) -> Float[Tensor, "b s"]:
        """Cross-entropy of each row's target, 0 where it has none."""
        _, losses = self._head
        return losses

    @cached_property
    def _head(self) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b s"]]:
        """Adjoint of the summed loss at the final hidden states, and the loss of each row.

        Only supervised rows pass the head, a few at a time: no [s, v] logits exist.
        """
        final = self.final.detach()
        adjoint = torch.zeros_like(final)
        losses = torch.zeros(final.shape[:2], dtype=torch.float32, device=final.device)
        losses = losses.to(torch.promote_types(final.dtype, torch.float32))
        b, s = torch.nonzero(self.targets != IGNORE_INDEX, as_tuple=True)
        for rows, slots in zip(b.split(self.chunk), s.split(self.chunk), strict=True):
            target = self.targets[rows, slots, None]  # [m, 1]
            with torch.enable_grad():
                hidden = final[rows, slots].requires_grad_()  # [m, d]
                logits = self.anatomy.head(hidden[None])[0]  # [m, v]
            log_p = logits.detach().to(losses.dtype).log_softmax(-1)
            losses[rows, slots] = -log_p.gather(1, target)[:, 0]
            # d loss / d logits = softmax - onehot(target), in the buffer that is there already.
            logits_adjoint = log_p.exp_().scatter_add_(
                1, target, -torch.ones_like(target, dtype=log_p.dtype)
            )
            adjoint[rows, slots] = self.anatomy.pull_back(
                logits, hidden, logits_adjoint.to(logits.dtype)
            )
        return adjoint, losses

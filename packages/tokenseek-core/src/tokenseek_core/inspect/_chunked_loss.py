"""The dense loss with its head in chunks of rows: what users set against logits that do not fit."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tokenseek_core._anatomy import Anatomy
from tokenseek_core._batch import Batch
from tokenseek_core._head import Head, head_losses
from tokenseek_core._loss import total_items
from tokenseek_core._wrappers import unwrap


def chunked_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Compute the dense loss of a batch without the logits of more than a chunk of rows.

    Rows without a target have no logits at all.

    Args:
        model: A causal language model of transformers, also inside PEFT.
        batch: Arguments of its forward, labels among them.

    Returns:
        The loss; its gradient is the dense one.

    Raises:
        InputError: The model is no decoder with a head, or an argument is of no use to a loss.

    Example:
        >>> chunked_loss(model, batch).backward()  # doctest: +SKIP
    """
    inner = unwrap(model)
    anatomy, given = Anatomy.of(inner, model), Batch.of(batch)
    states = anatomy.backbone(**given.rowwise, attention_mask=given.attention_mask, use_cache=False)
    final = states.last_hidden_state
    given = given.to(final.device)
    head = Head(anatomy, given.targets, given.counts.total)
    total = total_items(given.supervised.sum(1), given.num_items, head.dtype)
    return head_losses(head, final, given.supervised / total, None, None).sum()

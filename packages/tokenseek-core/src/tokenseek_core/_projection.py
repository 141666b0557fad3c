"""A head that is a table and nothing more: its losses and gradients, written out.

Logits are made twice. First a chunk of rows at a time, for their losses and for the gradient by the
hidden states, which overwrites the logits; each chunk reads the table twice. Later, for the table's
gradient, a chunk of the vocabulary at a time: with each row's log-sum known, a part of the
vocabulary needs no other, so each part of the table is read once and its gradient is complete, with
no sum over chunks that would round.

Shapes: `n` rows, `m` rows of one chunk, `d` hidden size, `v` vocabulary, `c` part of it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from tokenseek_core._anatomy import Anatomy, replaced
from tokenseek_core._chunks import chunk_bytes, walked
from tokenseek_core._cross_entropy import cross_entropy


def plain_projection(anatomy: Anatomy, final: Float[Tensor, "b s d"]) -> nn.Linear | None:
    """The model's projection to logits, if they are its product with `final` and nothing more.

    The model's own forward tells, for one row and a projection that computes nothing: scaled or
    capped logits are another tensor than those it was given, or another version of it, and so are
    a transformed input and the gathered logits of a table in parts.
    """
    projection: Any = anatomy.model.get_output_embeddings()
    if type(projection) is not nn.Linear or getattr(projection, "bias", None) is not None:
        return None
    weight: Any = projection.weight
    if "forward" in vars(projection) or is_traceable_wrapper_subclass(weight):
        return None
    row = final[:1, :1].detach()
    seen: list[tuple[Tensor, Tensor, int]] = []

    def look(input: Tensor) -> Tensor:
        made = input.new_zeros((*input.shape[:-1], projection.out_features))
        seen.append((input, made, made._version))
        return made

    with torch.no_grad(), replaced(projection, "forward", look):
        logits = anatomy.head(row)
    if len(seen) != 1:
        return None
    ((given, made, version),) = seen
    untouched = made is logits and made._version == version and same_memory(given, row)
    return projection if untouched else None


def project_rows(
    weight: Float[Tensor, "v d"], hidden: Float[Tensor, "m d"], target: Int[Tensor, " m"]
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"], Float[Tensor, "m d"]]:
    """Losses and log-sums of a chunk of rows, see :func:`cross_entropy`, and their adjoints."""
    logits = F.linear(hidden, weight)  # [m, v]
    losses, log_total = cross_entropy(logits, target, gradient=logits)
    return losses, log_total, logits @ weight


def table_gradient(
    weight: Float[Tensor, "v d"],
    hidden: Float[Tensor, "n d"],
    target: Int[Tensor, " n"],
    log_total: Float[Tensor, " n"],
    weights: Float[Tensor, " n"],
) -> Float[Tensor, "v d"]:
    """The gradient of sum_j weights_j * CE_j by the table.

    Args:
        weight: The table.
        hidden: Final hidden states of the rows.
        target: Target of each row; a row without one has weight 0.
        log_total: What :func:`project_rows` found for them.
        weights: Weight of each row.
    """
    table = torch.empty_like(weight)
    weighted = (hidden * weights[:, None]).to(hidden.dtype)
    # A part of the logits, and one of the table, which is the larger where there are few rows.
    each = max(1, chunk_bytes(hidden) // (max(hidden.shape) * log_total.dtype.itemsize))
    for first in range(0, walked(len(weight), each, weight), each):
        part = weight[first : first + each]
        logits = F.linear(hidden, part)  # [n, c]
        # In the logits' own buffer, where it is precise enough.
        own = logits if logits.dtype == log_total.dtype else None
        by_logits = torch.sub(logits, log_total[:, None], out=own).exp_()
        token = target - first
        inside = ((token >= 0) & (token < len(part))).to(by_logits.dtype)
        by_logits.scatter_add_(1, token.clamp(0, len(part) - 1)[:, None], -inside[:, None])
        table[first : first + each] = by_logits.to(logits.dtype).T @ weighted
    return table


def same_memory(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers in the same place; fake ones have no address."""
    places = [(x.untyped_storage()._cdata, x.storage_offset(), x.shape) for x in (one, other)]
    return places[0] == places[1]

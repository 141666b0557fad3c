"""How likely a model finds what it is to write."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tokenseek_common.data import IGNORE_INDEX


def log_likelihood(
    logits: Float[Tensor, "b s v"], labels: Int[Tensor, "b s"]
) -> Float[Tensor, " b"]:
    r"""The log-likelihood of each row's labels, $\sum_i \log p(y_i \mid y_{<i}, x)$.

    Args:
        logits: At each place, those of the label that stands there: a decoder's are to be shifted.
        labels: What is written; `IGNORE_INDEX` is not counted.

    Returns:
        The sums, in float32 at least.

    Example:
        >>> log_likelihood(torch.zeros(1, 3, 4), torch.tensor([[0, 1, -100]])).exp()
        tensor([0.0625])
    """
    rows, places = (labels != IGNORE_INDEX).nonzero(as_tuple=True)
    written = logits[rows, places]  # [t, v]: only these are made wide
    written = written.to(torch.promote_types(written.dtype, torch.float32))
    costs = F.cross_entropy(written, labels[rows, places], reduction="none")
    return costs.new_zeros(labels.shape[0]).index_add(0, rows, -costs)

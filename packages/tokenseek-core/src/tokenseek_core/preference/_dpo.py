"""Direct preference optimization."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tokenseek_core.preference._pairs import PairScores


def dpo_loss(
    policy: PairScores, reference: PairScores, *, beta: float = 0.1
) -> Float[Tensor, " b"]:
    """-log sigmoid(beta * ((p_c - p_r) - (q_c - q_r))) of each pair.

    p and q are log-probabilities of the better (c) and the worse answer (r) by the model that is
    trained and by the one that it began as (Rafailov et al. 2023, "Direct Preference Optimization",
    Eq. 7).

    Args:
        policy: Those of the model that is trained, with their graph.
        reference: Those of the model that it began as.
        beta: How much it is held to the latter.
    """
    ours = policy.chosen - policy.rejected
    theirs = reference.chosen - reference.rejected
    return -F.logsigmoid(beta * (ours - theirs))

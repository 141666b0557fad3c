"""From the tokens of a layer to its prompt rows: equations (1) to (6), a pure function.

Shapes: `b` batch, `n` token rows, `d` hidden size, `e` experts, `p` prompt rows, `k` experts used.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

EPSILON = 1e-6


class Routing(NamedTuple):
    """What the router of one layer decided for every input of a batch."""

    prompts: Float[Tensor, "b p d"]
    """The rows to put in front of the tokens, Eq. (6)."""
    logits: Float[Tensor, "b e"]
    """What the router said, without noise, Eq. (3)."""
    probabilities: Float[Tensor, "b e"]
    """Their softmax, Eq. (4), with the noise of Eq. (3) where there is some."""
    chosen: Int[Tensor, "b k"]
    """The experts that were taken."""
    gates: Float[Tensor, "b e"]
    """The weight of each expert, zero for those that were not taken, Eq. (5)."""
    pooled: Float[Tensor, "b d"]
    """The average of its tokens that the router was shown, Eq. (2)."""


def route(
    hidden_states: Float[Tensor, "b n d"],
    mask: Bool[Tensor, "b n"],
    router: Float[Tensor, "e d"],
    experts: Float[Tensor, "e p d"],
    shared: Float[Tensor, "p d"] | None,
    *,
    top_k: int,
    noise: float = 0.0,
    gumbel: bool = False,
    normalize: bool = False,
    divisor: int | None = None,
) -> Routing:
    """Mix the prompt rows of every input from the experts that its own tokens ask for.

    With u the token rows scaled to unit root mean square,

        s_b = sum_n m_bn u_bn / max(1, sum_n m_bn)                                        (1), (2)
        z_b = W s_b (1 + noise * eps),  p_b = softmax(z_b)                                (3), (4)
        g_be = p_be where e is among the k largest, else 0,  Pi_b = sum_e g_be X_e + S    (5), (6)

    The gates are dense: an expert that nobody chose still gets a gradient, of zeros. All of it is
    computed in float32, or in float64 where an argument is.

    Args:
        hidden_states: The token rows that enter the layer, without prompt rows.
        mask: The tokens that the router may look at; an input without any has s = 0.
        router: One row per expert, W.
        experts: The prompt rows of each expert, X.
        shared: Rows that are added for every input, S.
        top_k: Experts used for an input.
        noise: Standard deviation of the relative noise on the logits.
        gumbel: Draw the experts by the Gumbel-max trick instead of taking the likeliest. The
            gates stay the probabilities without that noise, and the gradient passes the draw
            straight through.
        normalize: Let the gates of an input sum to one.
        divisor: Divide by this instead of the number of tokens in the mask.

    Returns:
        The rows, and what led to them.
    """
    dtype = torch.promote_types(torch.promote_types(hidden_states.dtype, router.dtype), torch.float)
    with torch.autocast(hidden_states.device.type, enabled=False):
        router, experts = router.to(dtype), experts.to(dtype)
        pooled = pool(hidden_states.to(dtype), mask, divisor)  # [b, d]
        logits = pooled @ router.T  # [b, e]
        noisy = logits * (1 + noise * torch.randn_like(logits)) if noise else logits
        probabilities = noisy.softmax(-1)

        ranked = noisy + gumbel_like(noisy) if gumbel else probabilities
        # Stable, so that equal experts are taken in the same order on every device.
        chosen = ranked.argsort(dim=-1, descending=True, stable=True)[:, :top_k]
        gates = probabilities * torch.zeros_like(probabilities).scatter(1, chosen, 1)
        if normalize:
            gates = gates / gates.sum(-1, keepdim=True)

        prompts = torch.einsum("be,epd->bpd", gates, experts)
        if shared is not None:
            prompts = prompts + shared.to(dtype)
    return Routing(prompts, logits, probabilities, chosen, gates, pooled)


def pool(
    hidden_states: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"], divisor: int | None = None
) -> Float[Tensor, "b d"]:
    """Average the token rows of each input, scaled to unit root mean square, Eq. (1) and (2)."""
    mean_square = torch.linalg.vecdot(hidden_states, hidden_states) / hidden_states.shape[-1]
    weights = mask * torch.rsqrt(mean_square + EPSILON)  # [b, n]
    total = torch.bmm(weights[:, None], hidden_states)[:, 0]  # no scaled copy of the rows
    return total / (divisor or mask.sum(1, keepdim=True).clamp(min=1))


def gumbel_like(logits: Float[Tensor, "b e"]) -> Float[Tensor, "b e"]:
    """Draw noise whose largest sum with logits is a draw from their softmax."""
    return -torch.empty_like(logits).exponential_().log()


def balance_loss(routing: Routing) -> Float[Tensor, ""]:
    """The balancing term of Switch Transformers: E sum_e f_e mean_b p_be, 1 for uniform routing.

    f_e is the share of all choices that fell on expert e. It carries no gradient.

    Source: Fedus et al., "Switch Transformers" (2022), Eq. (4).
    """
    count = routing.probabilities.shape[-1]
    chosen = torch.zeros_like(routing.probabilities).scatter(1, routing.chosen, 1)
    share = chosen.mean(0) / routing.chosen.shape[-1]
    return count * torch.dot(share, routing.probabilities.mean(0))


def z_loss(routing: Routing) -> Float[Tensor, ""]:
    """The mean square of the logits' log-sum-exp, which keeps the router from saturating.

    Source: Zoph et al., "ST-MoE" (2022), Eq. (5).
    """
    return routing.logits.logsumexp(-1).square().mean()

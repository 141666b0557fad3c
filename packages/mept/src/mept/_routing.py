"""From the tokens of a layer to its prompt rows: equations (1) to (6), a pure function.

Shapes: `b` batch, `n` token rows, `d` hidden size, `e` experts, `p` prompt rows, `k` experts used.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tokenseek_common.rows import anchored

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
    noise: Float[Tensor, "b e"]
    """What the logits were multiplied by, Eq. (3); ones without noise."""

    def detached(self) -> Routing:
        """The same without its graph."""
        return Routing._make(value.detach() for value in self)


def route(
    hidden_states: Float[Tensor, "b n d"],
    mask: Bool[Tensor, "b n"],
    router: Float[Tensor, "e d"],
    experts: Float[Tensor, "e p d"],
    shared: Float[Tensor, "p d"] | None,
    *,
    top_k: int,
    log_scale: Float[Tensor, "1"] | None = None,
    mean: Float[Tensor, " d"] | None = None,
    noise: float = 0.0,
    gumbel: bool = False,
    normalize: bool = False,
    divisor: Int[Tensor, "b 1"] | int | None = None,
    recorded: Routing | None = None,
) -> Routing:
    """Mix the prompt rows of every input from the experts that its own tokens ask for.

    With u the token rows scaled to unit root mean square,

        s_b = sum_n m_bn u_bn / max(1, sum_n m_bn)                                        (1), (2)
        z_b = W s_b (1 + noise * eps),  p_b = softmax(z_b)                                (3), (4)
        g_be = p_be where e is among the k largest, else 0,  Pi_b = sum_e g_be X_e + S    (5), (6)

    A cosine router has in place of W s_b the cosines of its rows with s_b - mean, times
    exp(log_scale): no row is longer than another, and what all inputs have in common, the most of
    s_b, makes no expert likelier than another.

    The gates are dense: an expert that nobody chose still gets a gradient, of zeros. All of it is
    computed in float32, or in float64 where an argument is.

    Args:
        hidden_states: The token rows that enter the layer, without prompt rows.
        mask: The tokens that the router may look at; an input without any has s = 0.
        router: One row per expert, W.
        experts: The prompt rows of each expert, X.
        shared: Rows that are added for every input, S.
        top_k: Experts used for an input.
        log_scale: What the cosines are multiplied by, its logarithm; None has a linear router.
        mean: What is taken off s_b before, of a cosine router; None is nothing.
        noise: Standard deviation of the relative noise on the logits.
        gumbel: Draw the experts by the Gumbel-max trick instead of taking the likeliest. The
            gates stay the probabilities without that noise, and the gradient passes the draw
            straight through.
        normalize: Let the gates of an input sum to one.
        divisor: Divide by this instead of the number of tokens in the mask.
        recorded: What was decided where all tokens were there, of which the mask shows those that
            carry gradient: pool, noise and experts are its, whatever these tokens alone would say.

    Returns:
        The rows, and what led to them.
    """
    dtype = torch.promote_types(torch.promote_types(hidden_states.dtype, router.dtype), torch.float)
    with torch.autocast(hidden_states.device.type, enabled=False):
        router, experts = router.to(dtype), experts.to(dtype)
        pooled = pool(hidden_states.to(dtype), mask, divisor)  # [b, d]
        pooled = pooled if recorded is None else anchored(recorded.pooled, pooled)
        logits = router_logits(pooled, router, log_scale, mean)  # [b, e]
        factor = noise_like(logits, noise) if recorded is None else recorded.noise
        noisy = logits * factor
        probabilities = noisy.softmax(-1)

        ranked = noisy + gumbel_like(noisy) if gumbel and recorded is None else probabilities
        chosen = best(ranked, top_k) if recorded is None else recorded.chosen
        gates = probabilities * torch.zeros_like(probabilities).scatter(1, chosen, 1)
        if normalize:
            gates = gates / gates.sum(-1, keepdim=True)

        prompts = torch.einsum("be,epd->bpd", gates, experts)
        if shared is not None:
            prompts = prompts + shared.to(dtype)
    return Routing(prompts, logits, probabilities, chosen, gates, pooled, factor)


def pool(
    hidden_states: Float[Tensor, "b n d"],
    mask: Bool[Tensor, "b n"],
    divisor: Int[Tensor, "b 1"] | int | None = None,
) -> Float[Tensor, "b d"]:
    """Average the token rows of each input, scaled to unit root mean square, Eq. (1) and (2)."""
    mean_square = torch.linalg.vecdot(hidden_states, hidden_states) / hidden_states.shape[-1]
    weights = mask * torch.rsqrt(mean_square + EPSILON)  # [b, n]
    total = torch.bmm(weights[:, None], hidden_states)[:, 0]  # no scaled copy of the rows
    return total / (token_count(mask) if divisor is None else divisor)


def token_count(mask: Bool[Tensor, "b n"]) -> Int[Tensor, "b 1"]:
    """The tokens of each input that its router sees, at least one, Eq. (2)."""
    return mask.sum(1, keepdim=True).clamp(min=1)


def router_logits(
    pooled: Float[Tensor, "b d"],
    router: Float[Tensor, "e d"],
    log_scale: Float[Tensor, "1"] | None,
    mean: Float[Tensor, " d"] | None,
) -> Float[Tensor, "b e"]:
    """What a router says of pooled tokens: products, or scaled cosines, Eq. (3)."""
    if log_scale is None:
        return pooled @ router.T
    centred = pooled if mean is None else pooled - mean.to(pooled.dtype)
    return log_scale.to(pooled.dtype).exp() * (F.normalize(centred) @ F.normalize(router).T)


def noise_like(logits: Float[Tensor, "b e"], deviation: float) -> Float[Tensor, "b e"]:
    """Draw what logits are multiplied by, Eq. (3)."""
    ones = torch.ones_like(logits)
    return ones + deviation * torch.randn_like(logits) if deviation else ones


def best(ranked: Float[Tensor, "b e"], top_k: int) -> Int[Tensor, "b k"]:
    """Take the first experts; stable, so that equal ones are taken alike on every device."""
    return ranked.argsort(dim=-1, descending=True, stable=True)[:, :top_k]


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

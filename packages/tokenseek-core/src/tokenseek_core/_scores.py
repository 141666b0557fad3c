"""Token scores: Eq. 4 and 5 of TokenSeek, and the random draw of TokenTune."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

EPSILON = 1e-9


def gradient_magnitude(adjoint: Float[Tensor, "b s d"]) -> Float[Tensor, "b s"]:
    """I2(t_j) = sum_k |G_jk|, G the loss's adjoint at the input of the last block (Eq. 4).

    The absolute value is read into the published sum: a signed one would cancel.
    """
    return adjoint.abs().sum(-1)


def tokenseek_scores(
    context: Float[Tensor, "b s"],
    gradient: Float[Tensor, "b s"],
    valid: Bool[Tensor, "b s"],
    *,
    alpha: float,
    beta: float,
) -> Float[Tensor, "b s"]:
    """I(t_j) = alpha * log I1(t_j) + beta * Norm(I2(t_j)) (Eq. 5).

    The logarithm tames the attention sink's long tail; Norm is min-max over the real tokens of
    each instance.
    """
    low = gradient.masked_fill(~valid, torch.inf).amin(1, keepdim=True)
    high = gradient.masked_fill(~valid, -torch.inf).amax(1, keepdim=True)
    norm = (gradient - low) / (high - low + EPSILON)
    return alpha * (context + EPSILON).log() + beta * norm


def random_scores(valid: Bool[Tensor, "b s"]) -> Float[Tensor, "b s"]:
    """Draw uniform scores for the real tokens, seeded for each instance.

    Every instance takes one seed from torch's default generator and draws for its real tokens
    alone: neither the batch it stands in nor its padding changes the draw, and restoring torch's
    generator (as trainers do on resuming) restores it.
    """
    if is_fake(valid):  # neither seeds nor lengths to read; any scores have this size
        return torch.rand(valid.shape, device=valid.device)
    scores = torch.zeros(valid.shape)
    for row, real in zip(scores, valid.cpu(), strict=True):
        seed = int(torch.randint(2**63 - 1, ()).item())
        row[real] = torch.rand(int(real.sum()), generator=torch.Generator().manual_seed(seed))
    return scores.to(valid.device)


def perturbed(log_p: Float[Tensor, "b s"], valid: Bool[Tensor, "b s"]) -> Float[Tensor, "b s"]:
    """Log p plus Gumbel noise: the k highest are k draws without replacement, by p.

    With the (k + 1)th of them as a threshold t, a kept token had the probability
    1 - exp(-exp(log p - t)) to be kept, and weighing it by the inverse makes sums unbiased
    (Kool et al. 2019, "Stochastic Beams and Where to Find Them", section 4).
    """
    uniform = random_scores(valid).to(log_p).clamp(min=torch.finfo(log_p.dtype).tiny)
    return log_p - torch.log(-torch.log(uniform))

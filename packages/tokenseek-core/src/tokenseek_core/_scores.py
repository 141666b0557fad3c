"""Token scores: Eq. 4 and 5 of TokenSeek, and the random draw of TokenTune."""

from __future__ import annotations

from collections.abc import Sequence

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


def context_term(context: Float[Tensor, "b s"], *, alpha: float) -> Float[Tensor, "b s"]:
    """First term of Eq. 5, alpha * log I1(t_j); the logarithm tames the sink's long tail."""
    return alpha * (context + EPSILON).log()


def gradient_term(
    gradient: Float[Tensor, "b s"], valid: Bool[Tensor, "b s"], *, beta: float
) -> Float[Tensor, "b s"]:
    """Second term, beta * Norm(I2(t_j)); Norm is min-max over an instance's real tokens."""
    low = gradient.masked_fill(~valid, torch.inf).amin(1, keepdim=True)
    high = gradient.masked_fill(~valid, -torch.inf).amax(1, keepdim=True)
    return beta * ((gradient - low) / (high - low + EPSILON))


def random_scores(valid: Bool[Tensor, "b s"], lengths: Sequence[int]) -> Float[Tensor, "b s"]:
    """Draw uniform scores for the real tokens, seeded for each instance.

    Every instance takes one seed from torch's default generator and draws for its real tokens
    alone: neither the batch it stands in nor its padding changes the draw, and restoring torch's
    generator (as trainers do on resuming) restores it.

    Args:
        valid: Tokens that are not padding.
        lengths: Their number in each instance.
    """
    if is_fake(valid):  # no seeds to read; any scores have this size
        return torch.rand(valid.shape, device=valid.device)
    drawn = torch.zeros(valid.shape, pin_memory=valid.is_cuda)  # so that the copy is not waited for
    for row, length in zip(drawn, lengths, strict=True):
        seed = int(torch.randint(2**63 - 1, ()).item())
        row[:length] = torch.rand(length, generator=torch.Generator().manual_seed(seed))
    rank = (valid.cumsum(1) - 1).clamp(min=0)  # of each token among the real ones
    scores = drawn.to(valid.device, non_blocking=True).gather(1, rank)
    return scores.masked_fill(~valid, 0)


def perturbed(log_p: Float[Tensor, "b s"], uniform: Float[Tensor, "b s"]) -> Float[Tensor, "b s"]:
    """Log p plus Gumbel noise: the k highest are k draws without replacement, by p.

    With the (k + 1)th of them as a threshold t, a kept token had the probability
    1 - exp(-exp(log p - t)) to be kept, and weighing it by the inverse makes sums unbiased
    (Kool et al. 2019, "Stochastic Beams and Where to Find Them", section 4).

    Args:
        log_p: Logarithms of the probabilities.
        uniform: What the noise is made of, uniform in [0, 1).
    """
    noise = uniform.to(log_p).clamp(min=torch.finfo(log_p.dtype).tiny)
    return log_p - torch.log(-torch.log(noise))

"""Directions that inputs gather around: spherical k-means.

Shapes: `s` samples, `d` hidden size, `c` centroids.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_NEAR = 1e-9
"""Samples whose cosine with a centroid is within this of 1 are one point with it."""


def spherical_kmeans(
    samples: Float[Tensor, "s d"], count: int, *, generator: torch.Generator, steps: int = 100
) -> Float[Tensor, "c d"]:
    """Find unit vectors such that samples have a large cosine with the nearest of them.

    Lloyd's algorithm on samples of unit length, from centroids drawn by k-means++, until no sample
    changes its centroid. One that loses all samples moves to that which fits its own centroid
    least.

    Args:
        samples: Vectors; of those of length zero nothing is learnt.
        count: How many centroids are wanted.
        generator: Draws the first centroids.
        steps: Most rounds.

    Returns:
        The centroids; fewer than wanted where there are fewer directions among the samples.

    Source: Dhillon and Modha, "Concept decompositions for large sparse text data using
        clustering" (2001); Arthur and Vassilvitskii, "k-means++" (2007).
    """
    points = F.normalize(samples[samples.norm(dim=1) > 0].double())  # [s, d]
    if not len(points):
        return samples[:0]
    centroids = _seeds(points, count, generator)  # [c, d]
    nearest = torch.full((len(points),), -1)
    for _ in range(steps):
        cosines = points @ centroids.T  # [s, c]
        before, nearest = nearest, cosines.argmax(1)
        if torch.equal(before, nearest):
            break
        fit = cosines.amax(1)
        for cluster in range(len(centroids)):
            own = nearest == cluster
            if not own.any():
                own = torch.arange(len(points)) == fit.argmin()
                fit[own] = 1.0
            centroids[cluster] = F.normalize(points[own].sum(0), dim=0)
    return centroids.to(samples.dtype)


def _seeds(
    points: Float[Tensor, "s d"], count: int, generator: torch.Generator
) -> Float[Tensor, "c d"]:
    """Draw points, each with a chance that grows with its distance from those drawn before."""
    first = int(torch.randint(len(points), (), generator=generator))
    drawn = [first]
    distance = 1 - points @ points[first]  # [s], half the squared distance on the sphere
    while len(drawn) < count:
        chances = distance.where(distance > _NEAR, 0.0)
        if not chances.any():
            break
        drawn.append(int(torch.multinomial(chances, 1, generator=generator)))
        distance = torch.minimum(distance, 1 - points @ points[drawn[-1]])
    return points[drawn].clone()

r"""Feature denoiser: attention inside learned subspaces, then a sparsifying step.

ProMotion trains its features to undo noise: the conditional mean is the best denoiser,

    E[z | z + sigma w] = argmin_f E || f(z + sigma w) - z ||^2,    w ~ N(0, I),

carried out by transformer layers that take tokens for points near a union of low-dimensional
subspaces (ProMotion, CVPR 2024). The layers follow white-box transformers (Yu et al., "White-Box
Transformers via Sparse Rate Reduction", arXiv 2306.01129), with a skip around the second step:

    SSA(Z | U_k) = (U_k^T Z) softmax((U_k^T Z)^T (U_k^T Z) / sqrt(d / heads))
    Z'           = Z + W_o [SSA(Z | U_1); ...; SSA(Z | U_heads)]
    Y            = LN(Z')
    Z_next       = Z' + ReLU(Y + eta D^T (Y - D Y) - eta lambda)

Shapes: `b` batch, `d` channels, `h w` cells, `n` = h w tokens, `m` keys.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from promotion.nn._sharpening import sharpening

STEP = 0.1
"""eta of the sparsifying step."""

THRESHOLD = 0.1
"""lambda of the sparsifying step."""

TRAINED_KEYS = 80
"""Keys of a typical training picture; attention over more of them is sharpened to match."""


class SubspaceBlock(nn.Module):
    """One denoising layer.

    Args:
        channels: d.
        heads: Subspaces; each has d / heads dimensions.
        pooling: Cells that are averaged to one key, along each axis.
    """

    def __init__(self, channels: int, *, heads: int, pooling: int = 1) -> None:
        super().__init__()
        self.heads, self.pooling = heads, pooling
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm1 = nn.LayerNorm(channels)
        self.subspaces = nn.Linear(channels, channels, bias=False)  # U_1 ... U_heads side by side
        self.out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.dictionary = nn.Linear(channels, channels, bias=False)  # D
        nn.init.orthogonal_(self.dictionary.weight)

    def forward(
        self, z: Float[Tensor, "b d h w"], most_keys: int | None = None
    ) -> Float[Tensor, "b d h w"]:
        """Denoise features; as many cells are averaged to a key that there are `most_keys`."""
        height, width = z.shape[-2:]
        z = z + self.position(z)
        tokens = z.flatten(2).transpose(1, 2)  # [b, n, d]
        tokens = tokens + self.attend(self.norm1(tokens), height, width, most_keys)
        y = self.norm2(tokens)
        residual = y - self.dictionary(y)
        tokens = tokens + F.relu(y + STEP * residual @ self.dictionary.weight - STEP * THRESHOLD)
        denoised: Tensor = tokens.transpose(1, 2).unflatten(2, (height, width))
        return denoised

    def attend(
        self, y: Float[Tensor, "b n d"], height: int, width: int, most_keys: int | None = None
    ) -> Float[Tensor, "b n d"]:
        """Attend in each subspace: queries, keys and values are one projection."""
        projected = self.subspaces(y)
        pooled = projected
        pooling = self.pooling
        if most_keys is not None:
            pooling = max(pooling, math.ceil(math.sqrt(height * width / most_keys)))
        if pooling > 1:
            cells = projected.transpose(1, 2).unflatten(2, (height, width))
            cells = F.avg_pool2d(cells, pooling, ceil_mode=True, count_include_pad=False)
            pooled = cells.flatten(2).transpose(1, 2).contiguous()  # as fast attention needs it
        query, key = (
            x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (projected, pooled)
        )  # [b, heads, n or m, d / heads]
        query = query * sharpening(key.shape[2], TRAINED_KEYS, like=query)
        attended = F.scaled_dot_product_attention(query, key, key)
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out


class FeatureDenoiser(nn.Module):
    """Layers that denoise features, and the loss that teaches them to.

    Args:
        channels: d.
        blocks: Layers.
        heads: Subspaces of a layer.
        pooling: Cells that are averaged to one key, along each axis.
        noise: Largest standard deviation of the training noise, in those of the features.
    """

    def __init__(
        self, channels: int, *, blocks: int, heads: int, pooling: int, noise: float = 0.2
    ) -> None:
        super().__init__()
        self.noise = noise
        self.blocks = nn.ModuleList(
            SubspaceBlock(channels, heads=heads, pooling=pooling) for _ in range(blocks)
        )
        self.restore = nn.Conv2d(channels, channels, 1)  # g

    def forward(
        self, x: Float[Tensor, "b d h w"], *, most_keys: int | None = None
    ) -> tuple[Float[Tensor, "b d h w"], Float[Tensor, "b"] | None]:
        """Denoise features; in training, of features with noise added, with the loss of each.

        Args:
            x: The features.
            most_keys: Of a layer; where there would be more, more cells are averaged to one.

        Returns:
            z = Phi(x + sigma w) and ``|| g(z) - x ||^2 / Var(x)``, where x is taken as given;
            outside of training sigma is 0 and there is no loss.
        """
        if not self.training:
            return self.denoise(x, most_keys), None
        target = x.detach()
        variance = target.var(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)  # [b, 1, 1, 1]
        sigma = self.noise * torch.rand_like(variance) * variance.sqrt()
        z = self.denoise(x + sigma * torch.randn_like(x), most_keys)
        error = (self.restore(z) - target).square() / variance
        return z, error.mean(dim=(1, 2, 3))

    def denoise(self, x: Float[Tensor, "b d h w"], most_keys: int | None) -> Tensor:
        """Phi(x): layer by layer."""
        for block in self.blocks:
            x = block(x, most_keys)
        return x

r"""Correlation of every cell of one frame with those of the other, and looking it up.

    c(x, y) = <f1(x), f2(y)> / sqrt(d)

At level i the second frame is averaged over 2^i x 2^i cells. A cell centre c of level 0 lies at
(c + 0.5) / 2^i - 0.5 there. Both ways below give the same values: all pairs cost (h w)^2 numbers
once, on demand costs d products at each lookup and keeps nothing. Shapes: `b` batch, `d` channels,
`h w` cells, `q` = levels (2 r + 1)^2 values of a lookup.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

LARGEST_VOLUME = 2**28
"""Bytes of an all-pairs volume above which lookups compute what they need."""


def correlation(
    first: Float[Tensor, "b d h w"], second: Float[Tensor, "b d h w"], *, radius: int, levels: int
) -> AllPairs | OnDemand:
    """All pairs, or on demand where they would take more than `LARGEST_VOLUME`.

    A gradient takes all pairs, and so does an export, which does not know the sizes.
    """
    b, _, h, w = first.shape
    all_pairs = torch.compiler.is_exporting() or torch.is_grad_enabled()
    fits = all_pairs or b * (h * w) ** 2 * first.element_size() <= LARGEST_VOLUME
    kind = AllPairs if fits else OnDemand
    return kind(first, second, radius=radius, levels=levels)


class AllPairs:
    """Correlations computed once, for every pair.

    Args:
        first: Features of the first frame.
        second: Features of the second.
        radius: r, cells to each side that a lookup covers, at each level.
        levels: Of the pyramid; a side of a single cell is halved no further.
    """

    def __init__(
        self,
        first: Float[Tensor, "b d h w"],
        second: Float[Tensor, "b d h w"],
        *,
        radius: int,
        levels: int,
    ) -> None:
        self.radius = radius
        rows = first.flatten(2).transpose(1, 2) / math.sqrt(first.shape[1])  # [b, n, d]
        self.levels = []
        for level in _pyramid(second, levels):
            self.levels.append((rows @ level.flatten(2), level.shape[-2:]))

    def __call__(self, centre: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b q h w"]:
        """Gather whole cells around each centre, and blend them."""
        values = []
        for level, (volume, size) in enumerate(self.levels):
            cells = _Window(centre, size, level=level, radius=self.radius)
            near = volume.gather(2, cells.index.flatten(2))  # [b, n, (2 r + 2)^2]
            values.append(cells.blend(near.unflatten(2, cells.index.shape[2:])))
        return _as_map(values, centre)


class OnDemand:
    """The same correlations, computed at each lookup. Arguments as of `AllPairs`."""

    def __init__(
        self,
        first: Float[Tensor, "b d h w"],
        second: Float[Tensor, "b d h w"],
        *,
        radius: int,
        levels: int,
    ) -> None:
        self.radius = radius
        self.rows = first.flatten(2).transpose(1, 2) / math.sqrt(first.shape[1])
        self.levels = list(_pyramid(second, levels))

    def __call__(self, centre: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b q h w"]:
        """Gather features of whole cells around each centre, multiply, and blend."""
        values = []
        for level, features in enumerate(self.levels):
            cells = _Window(centre, features.shape[-2:], level=level, radius=self.radius)
            columns = features.flatten(2).transpose(1, 2)  # [b, m, d]
            near = torch.stack(
                [
                    self._products(*each)
                    for each in zip(self.rows, columns, cells.index, strict=True)
                ]
            )
            values.append(cells.blend(near))
        return _as_map(values, centre)

    def _products(
        self, rows: Float[Tensor, "n d"], columns: Float[Tensor, "m d"], index: Int[Tensor, "n s t"]
    ) -> Float[Tensor, "n s t"]:
        """One picture's products, a few rows of cells at a time."""
        per_row = index[0].numel() * columns.shape[1] * columns.element_size()
        chunk = max(1, LARGEST_VOLUME // 8 // per_row)
        parts = zip(rows.split(chunk), index.split(chunk), strict=True)
        return torch.cat([torch.einsum("nd,nstd->nst", row, columns[i]) for row, i in parts])


class _Window:
    """The (2 r + 2)^2 whole cells around each centre, and how a lookup blends them.

    All samples of one lookup share the fractional part of their place, so bilinear sampling at
    (2 r + 1)^2 places is one blend of neighbours along each axis. Beyond the border there is 0.
    """

    def __init__(
        self,
        centre: Float[Tensor, "b 2 h w"],
        size: tuple[int, int] | torch.Size,
        *,
        level: int,
        radius: int,
    ) -> None:
        place = (centre.flatten(2) + 0.5) / 2**level - 0.5  # [b, 2, n]
        whole = place.floor()
        self.fraction = (place - whole)[..., None]
        offsets = torch.arange(-radius, radius + 2, device=centre.device)
        cells = whole[..., None].long() + offsets  # [b, 2, n, 2 r + 2]
        x, y = cells.unbind(1)
        inside_x, inside_y = (x >= 0) & (x < size[1]), (y >= 0) & (y < size[0])
        self.inside = torch.stack([inside_x, inside_y], 1)
        x, y = x.clamp(0, size[1] - 1), y.clamp(0, size[0] - 1)
        self.index: Int[Tensor, "b n s t"] = y[..., :, None] * size[1] + x[..., None, :]

    def blend(self, values: Float[Tensor, "b n s t"]) -> Float[Tensor, "b n q"]:
        """Blend the rows, then the columns."""
        (inside_x, inside_y), (x, y) = self.inside.unbind(1), self.fraction.unbind(1)
        values = values.to(x.dtype) * inside_y[..., :, None] * inside_x[..., None, :]
        values = torch.lerp(values[..., :-1, :], values[..., 1:, :], y[..., None])
        values = torch.lerp(values[..., :-1], values[..., 1:], x[..., None])
        return values.flatten(2)


def _pyramid(features: Float[Tensor, "b d h w"], levels: int) -> list[Tensor]:
    pyramid = [features]
    while len(pyramid) < levels:
        # A side of one cell stays, so that every picture has the same channels.
        kernel = tuple(min(2, side) for side in pyramid[-1].shape[-2:])
        pyramid.append(F.avg_pool2d(pyramid[-1], kernel))
    return pyramid


def _as_map(values: list[Tensor], centre: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b q h w"]:
    found: Tensor = torch.cat(values, 2).transpose(1, 2).unflatten(2, centre.shape[-2:])
    return found

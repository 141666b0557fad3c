"""Samples varied so that their truth stays true."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from promotion.datasets._augment_config import AugmentConfig
from promotion.datasets._chance import happens, uniform, whole
from promotion.datasets._colours import jitter
from promotion.datasets._resize import resize
from promotion.datasets._sample import Sample

_FIELDS = [field.name for field in fields(Sample)]


class Augmentor:
    """Crops, magnifies, flips and recolours a sample, and hides parts of its second frame.

    Args:
        config: How much of each.

    Example:
        >>> augment = Augmentor(AugmentConfig())
        >>> varied = augment(sample, 96, 128, torch.Generator().manual_seed(0))
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def __call__(
        self, sample: Sample, height: int, width: int, generator: torch.Generator
    ) -> Sample:
        """Vary one sample.

        Args:
            sample: Of any size; one that is too small to crop from is magnified.
            height: Rows wanted.
            width: Columns wanted.
            generator: Where chance comes from: the same state gives the same result.
        """
        sample = self._magnified(sample, height, width, generator)
        if happens(self.config.flip_sideways, generator):
            sample = flip_sideways(sample)
        if happens(self.config.flip_upside_down, generator):
            sample = flip_upside_down(sample)
        image1, image2 = self._recoloured(sample, generator)
        if happens(self.config.occlude, generator):
            image2 = self._occluded(image2, generator)
        return replace(sample, image1=image1, image2=image2)

    def _magnified(
        self, sample: Sample, height: int, width: int, generator: torch.Generator
    ) -> Sample:
        """Crop as much as fills the wanted size when magnified."""
        config, (old_height, old_width) = self.config, sample.depth.shape
        zoom = max(2 ** uniform(*config.scale, generator), height / old_height, width / old_width)
        stretches = [uniform(-config.stretch, config.stretch, generator) for _ in range(2)]
        if not happens(config.stretch_chance, generator):
            stretches = [0.0, 0.0]
        rows = min(old_height, max(1, round(height / (zoom * 2 ** stretches[0]))))
        columns = min(old_width, max(1, round(width / (zoom * 2 ** stretches[1]))))
        top = whole(old_height - rows + 1, generator)
        left = whole(old_width - columns + 1, generator)
        resized = resize(crop(sample, top, left, rows, columns), height, width)
        if config.scaled_depth == "kept":
            return resized
        magnification = ((height / rows) * (width / columns)) ** 0.5
        return replace(resized, depth=resized.depth / magnification)

    def _recoloured(
        self, sample: Sample, generator: torch.Generator
    ) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "3 h w"]]:
        if happens(self.config.asymmetric, generator):
            first = jitter(sample.image1, self.config, generator)
            return first, jitter(sample.image2, self.config, generator)
        # as one picture, since contrast is about the mean of a picture
        both = jitter(torch.cat([sample.image1, sample.image2], dim=1), self.config, generator)
        first, second = both.chunk(2, dim=1)
        return first, second

    def _occluded(
        self, image: Float[Tensor, "3 h w"], generator: torch.Generator
    ) -> Float[Tensor, "3 h w"]:
        """Fill one or two rectangles with the mean colour."""
        height, width = image.shape[1:]
        occluded, mean = image.clone(), image.mean((1, 2))
        for _ in range(1 + whole(2, generator)):
            rows, columns = (
                max(1, round(width * uniform(*self.config.occluder, generator))) for _ in range(2)
            )
            top, left = whole(height, generator), whole(width, generator)
            occluded[:, top : top + rows, left : left + columns] = mean[:, None, None]
        return occluded


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """Cut a rectangle out of a sample or a batch."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    return Sample(*(getattr(sample, name)[..., rows, columns] for name in _FIELDS))


def flip_sideways(sample: Sample) -> Sample:
    """Exchange left and right: what moved right moves left."""
    flipped = Sample(*(getattr(sample, name).flip(-1) for name in _FIELDS))
    return replace(flipped, flow=flipped.flow * flipped.flow.new_tensor([-1, 1])[:, None, None])


def flip_upside_down(sample: Sample) -> Sample:
    """Exchange top and bottom: what moved down moves up."""
    flipped = Sample(*(getattr(sample, name).flip(-2) for name in _FIELDS))
    return replace(flipped, flow=flipped.flow * flipped.flow.new_tensor([1, -1])[:, None, None])

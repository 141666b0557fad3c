"""Chance in what the planes of one scene are painted with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from promotion.scenes._config import SceneConfig
from promotion.scenes._photos import CROPS, installed_photos, photo_texture
from promotion.scenes._surfaces import Layer, Surface
from promotion.scenes._textures import PROCEDURAL, SIDE, Pyramid, grey_texture, procedural_texture

_REFERENCE = 8.0  # metres: here a texel is about as large as a pixel of the frame
_WORLDLY = 0.75  # 0 lets textures look alike at every depth, 1 makes them alike in the world
_COARSEST = 0.6  # texels in a pixel: below, the texels would be seen


class Painter:
    """Draws surfaces, of which those of one scene have about one contrast.

    Args:
        config: Its share of photographs.
        rng: Where chance comes from.
        focal: Focal length, in pixels.
    """

    def __init__(self, config: SceneConfig, rng: np.random.Generator, focal: float) -> None:
        self._rng = rng
        self._focal = focal
        self._contrast = float(rng.choice([0.7, 2.0], p=[0.25, 0.75]))
        self._photos, self._plain = config.photos, config.plain

    def __call__(self, depth: float, size: float, *, plain: bool = False) -> Surface:
        """Draw a surface.

        Args:
            depth: Where it lies, in metres.
            size: How large the piece is, in metres.
            plain: Whether it has hardly any texture, whatever is drawn.
        """
        rng = self._rng
        # most of the way from equal in the picture to equal in the world
        nearness = (_REFERENCE / depth) ** _WORLDLY
        density = self._focal / _REFERENCE * nearness * np.exp(rng.normal(0.45, 0.3))
        density = max(density, _COARSEST * self._focal / depth)
        is_photo = rng.random() < self._photos and len(installed_photos()) > 0
        plain = bool(rng.random() < self._plain) or plain
        strength = float(np.clip(rng.normal(0.35, 0.4), 0, 1.2))
        paint = self._photo if is_photo else self._pattern
        base, mixing, offset = paint(density, depth, size)
        if plain:  # hardly any texture, such as a sky or a painted wall
            mixing, offset = 0.15 * mixing, offset + 0.85 * mixing @ np.full(3, 0.5)
        return Surface(
            base=base,
            mixing=mixing,
            offset=offset,
            grain=self._layer(grey_texture, density * rng.uniform(1.5, 5)),
            grain_strength=0.2 * strength if plain else strength,
            slope=tuple(rng.normal(0, 0.25, 2) / size),
        )

    def _pattern(
        self, density: float, depth: float, size: float
    ) -> tuple[Layer, Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
        """A procedural texture, recoloured freely."""
        rng = self._rng
        mixing = self._contrast * rng.uniform(0.6, 1.4) * _recolouring(rng, rng.uniform(0.05, 0.7))
        level = np.clip(rng.normal(0.38, 0.25, 1) + rng.normal(0, 0.06, 3), -0.1, 1.0)
        return self._layer(procedural_texture, density), mixing, level - mixing @ np.full(3, 0.5)

    def _photo(
        self, density: float, depth: float, size: float
    ) -> tuple[Layer, Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
        """A photograph over the whole piece, its colours little changed."""
        rng = self._rng
        photos = installed_photos()
        texture = photo_texture(photos[rng.integers(len(photos))], int(rng.integers(CROPS)))
        extent = min(2 * size * rng.uniform(0.8, 3), SIDE * depth / (_COARSEST * self._focal))
        layer = Layer(texture, float(SIDE / extent), tuple(rng.uniform(0, SIDE, 2)))
        contrast = rng.uniform(1.0, 1.8)
        colourful = rng.uniform(0.4, 1.1)
        mixing = contrast * (colourful * np.eye(3) + (1 - colourful) / 3)
        return layer, mixing, (1 - contrast) * rng.uniform(0.3, 0.6) + rng.normal(0, 0.02, 3)

    def _layer(self, bank: Callable[[int], Pyramid], density: float) -> Layer:
        texture = bank(int(self._rng.integers(PROCEDURAL)))
        return Layer(texture, float(density), tuple(self._rng.uniform(0, SIDE, 2)))


def _recolouring(rng: np.random.Generator, colourful: float) -> Float[np.ndarray, "3 3"]:
    """Channels in another order, at times inverted, with more or less colour."""
    order = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], p=[0.2, 0.8])
    mixing: Float[np.ndarray, "3 3"] = (colourful * np.eye(3) + (1 - colourful) / 3) @ order
    return mixing

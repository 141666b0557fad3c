"""Chance in how the camera and the bodies move: a turn and a shift each, of any length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from promotion.scenes._config import SceneConfig
from promotion.scenes._layouts import Layout
from promotion.scenes._rotations import rotation


@dataclass(frozen=True)
class Motion:
    """X2 = A X + b of each body, from the first camera to the second; body 0 is the world."""

    matrices: Float[np.ndarray, "bodies 3 3"]
    offsets: Float[np.ndarray, "bodies 3"]


@dataclass(frozen=True)
class Twists:
    """A turn and a shift for each body about its centre, the camera's first.

    Args:
        turns: Rotation vectors, in radians.
        shifts: Translations, in metres.
        centres: What each body turns about.
    """

    turns: Float[np.ndarray, "bodies 3"]
    shifts: Float[np.ndarray, "bodies 3"]
    centres: Float[np.ndarray, "bodies 3"]

    def scaled(self, scale: float) -> Motion:
        """The motion in which every turn and shift is this many times as large.

        A body moves by X -> R (X - c) + c + t, then the camera's own turn and shift apply to all.
        """
        camera_turn, camera_shift = rotation(scale * self.turns[0]), scale * self.shifts[0]
        matrices, offsets = [camera_turn], [camera_shift]
        for turn, shift, centre in zip(
            self.turns[1:], self.shifts[1:], self.centres[1:], strict=True
        ):
            own = rotation(scale * turn)
            matrices.append(camera_turn @ own)
            offsets.append(camera_turn @ (centre - own @ centre + scale * shift) + camera_shift)
        return Motion(np.stack(matrices), np.stack(offsets))


def draw_twists(config: SceneConfig, layout: Layout, rng: np.random.Generator) -> Twists:
    """Draw motions whose parts are all of about a pixel, some of them left out.

    A share of the scenes is rigid, another moves sideways only; in the others most bodies move on
    their own, from a tenth of the camera's motion to some times as much.
    """
    bodies = len(layout.centres)
    pixels = np.zeros((bodies, 6))  # about x, y, z, then along x, y, z
    kind = rng.random()
    if kind < config.stereo:
        pixels[0, 3] = rng.choice([-1.0, 1.0], p=[0.75, 0.25])
    else:
        pixels[0] = _draw_twist(rng)
        if layout.kind == "room":  # which cameras look around in more than they walk through
            pixels[0] *= (1, 3, 1, 0.5, 0.5, 0.5)
        if kind >= config.stereo + config.rigid:
            strength = np.exp(rng.uniform(np.log(0.1), np.log(5)))
            for body in np.flatnonzero(rng.random(bodies - 1) < 0.8) + 1:
                pixels[body] = strength * np.exp(rng.normal(0, 0.4)) * _draw_twist(rng)
    # A turn of the camera about x or y moves all by the focal length, any other by a radius.
    focal, radius = layout.intrinsics[0, 0], 0.35 * max(config.height, config.width)
    turns = pixels[:, :3] / radius
    turns[0, :2] = pixels[0, :2] / focal
    depths = layout.centres[:, 2].copy()
    depths[0] = layout.planes[0].pose[2, 2] / 2  # the camera's shifts are seen at many depths
    shifts = pixels[:, 3:] * depths[:, None] / (focal, focal, radius)
    return Twists(turns, shifts, layout.centres)


def _draw_twist(rng: np.random.Generator) -> Float[np.ndarray, "6"]:
    kept = rng.random(6) < 0.5
    kept[rng.integers(6)] = True
    twist: Float[np.ndarray, "6"] = rng.normal(size=6) * kept
    return twist

"""What stands where in the first camera: a background, and objects before it.

Metres; x to the right, y down, z ahead. Sizes and distances are drawn from the same ranges in all
scenes, so that depth in metres can be told from a single frame: by the texture's grain, by the
haze, by the height of the camera above the floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from promotion.scenes._backgrounds import draw_background
from promotion.scenes._config import SceneConfig
from promotion.scenes._objects import Place, draw_object
from promotion.scenes._painter import Painter
from promotion.scenes._planes import Plane

_TYPICAL = 5.0  # metres: here an object is as large in the picture as was drawn
_LARGEST = 0.4  # of the width


@dataclass(frozen=True)
class Layout:
    """A scene before anything moves.

    Args:
        planes: The background's first, of which the first fills the frame; then the objects'.
        centres: What each body turns about; the first is the world and turns about the camera.
        intrinsics: Of the camera.
    """

    planes: tuple[Plane, ...]
    centres: Float[np.ndarray, "bodies 3"]
    intrinsics: Float[np.ndarray, "3 3"]


def draw_layout(config: SceneConfig, rng: np.random.Generator) -> Layout:
    """Draw a camera, a background and objects."""
    intrinsics = _draw_intrinsics(config, rng)
    painter = Painter(config, rng, intrinsics[0, 0])
    distance = float(np.exp(rng.uniform(np.log(4), np.log(45))))
    background = draw_background(rng, painter, distance)
    cluttered = rng.random() < config.clutter
    sizes = (0.02, 0.08) if cluttered else (0.05, 0.3)
    thin = rng.choice([0.0, 0.05, 0.6], p=[0.5, 0.35, 0.15])
    count = int(rng.integers(config.objects[0], config.objects[1] + 1)) * (4 if cluttered else 1)
    planes, centres = list(background.planes), [np.zeros(3)]
    for body in range(1, 1 + count):
        depth = distance * np.exp(rng.uniform(np.log(max(0.1, 0.9 / distance)), np.log(0.85)))
        x, y = rng.uniform(-0.08, 1.08, 2) * (config.width, config.height)
        share = float(np.exp(rng.uniform(*np.log(sizes))))
        pieces = draw_object(
            rng,
            painter,
            Place(
                centre=depth * np.linalg.solve(intrinsics, np.array([x, y, 1])),
                size=_size(share, depth) * config.width / intrinsics[0, 0],
                floor=background.floor if rng.random() < 0.8 else None,
                thin=bool(rng.random() < thin),
                body=body,
            ),
        )
        planes += pieces
        centres.append(np.mean([piece.pose[:, 2] for piece in pieces], axis=0))
    return Layout(tuple(planes), np.stack(centres), intrinsics)


def _size(share: float, depth: float) -> float:
    """Half of the way from sizes that are equal in the picture to equal ones in the world."""
    return depth * min(_LARGEST, share * math.sqrt(_TYPICAL / depth))


def _draw_intrinsics(config: SceneConfig, rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """From 40 to 85 degrees along the longer side, the centre almost that of the frame."""
    focal = max(config.height, config.width) * np.exp(rng.uniform(np.log(0.55), np.log(1.4)))
    centre = np.array([config.width - 1, config.height - 1]) / 2
    cx, cy = centre + rng.uniform(-0.03, 0.03, 2) * config.width
    return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])

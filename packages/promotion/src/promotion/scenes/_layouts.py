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

from promotion.scenes._backgrounds import PlaceKind, draw_background, draw_kind
from promotion.scenes._config import SceneConfig
from promotion.scenes._objects import Place, draw_object
from promotion.scenes._painter import Painter
from promotion.scenes._planes import Plane

_TYPICAL = 5.0  # metres: here an object is as large in the picture as was drawn
_LARGEST = 0.4  # of the width
_DISTANCES: dict[PlaceKind | None, tuple[float, float]] = {
    None: (4, 45),
    "room": (2.5, 8),
    "street": (20, 60),
}
_BOXY: dict[PlaceKind | None, float] = {None: 0.2, "room": 0.7, "street": 0.5}  # share of boxes
_ZOOMS = math.log(1.02), math.log(1.15)
_MOST_FAST = 3
_FAST_SIZES = (0.02, 0.07)


@dataclass(frozen=True)
class Layout:
    """A scene before anything moves.

    Args:
        planes: The background's first, of which the first fills the frame; then the objects'.
        centres: What each body turns about; the first is the world and turns about the camera.
        intrinsics: Of the camera, in the first frame.
        fast: The bodies that are small and move far.
        zoom: Focal length of the second frame, in those of the first.
        kind: What place it is; None is none in particular.
    """

    planes: tuple[Plane, ...]
    centres: Float[np.ndarray, "bodies 3"]
    intrinsics: Float[np.ndarray, "3 3"]
    fast: tuple[int, ...] = ()
    zoom: float = 1.0
    kind: PlaceKind | None = None

    def zoomed(self, share: float) -> Float[np.ndarray, "3 3"]:
        """The camera after this share of the motion."""
        factor = self.zoom**share
        camera = self.intrinsics.copy()
        camera[[0, 1], [0, 1]] *= factor
        return camera


def draw_layout(config: SceneConfig, rng: np.random.Generator) -> Layout:
    """Draw a camera, a background and objects."""
    intrinsics = _draw_intrinsics(config, rng)
    zoom = 1.0
    if config.zoom and rng.random() < config.zoom:
        zoom = float(np.exp(rng.choice([-1, 1]) * rng.uniform(*_ZOOMS)))
        intrinsics[[0, 1], [0, 1]] *= max(1.0, 1 / zoom)  # neither frame is wider than was drawn
    kind = draw_kind(config, rng)
    painter = Painter(config, rng, intrinsics[0, 0])
    nearest, farthest = _DISTANCES[kind]
    distance = float(np.exp(rng.uniform(np.log(nearest), np.log(farthest))))
    background = draw_background(rng, painter, distance, kind)
    cluttered = rng.random() < config.clutter
    sizes = (0.02, 0.08) if cluttered else (0.05, 0.3)
    thin = rng.choice([0.0, 0.05, 0.6], p=[0.5, 0.35, 0.15])
    count = int(rng.integers(config.objects[0], config.objects[1] + 1)) * (4 if cluttered else 1)
    planes, centres = list(background.planes), [np.zeros(3)]
    fast = range(0)
    if config.fast and rng.random() < config.fast:
        fast = range(1 + count, 2 + count + int(rng.integers(_MOST_FAST)))
    for body in range(1, 1 + count + len(fast)):
        depth = distance * np.exp(rng.uniform(np.log(max(0.1, 0.9 / distance)), np.log(0.85)))
        x, y = rng.uniform(-0.08, 1.08, 2) * (config.width, config.height)
        share = float(np.exp(rng.uniform(*np.log(_FAST_SIZES if body in fast else sizes))))
        pieces = draw_object(
            rng,
            painter,
            Place(
                centre=depth * np.linalg.solve(intrinsics, np.array([x, y, 1])),
                size=_size(share, depth) * config.width / intrinsics[0, 0],
                floor=background.floor if rng.random() < 0.8 else None,
                thin=bool(rng.random() < thin),
                boxy=_BOXY[kind],
                body=body,
            ),
        )
        planes += pieces
        centres.append(np.mean([piece.pose[:, 2] for piece in pieces], axis=0))
    return Layout(tuple(planes), np.stack(centres), intrinsics, tuple(fast), zoom, kind)


def _size(share: float, depth: float) -> float:
    """Half of the way from sizes that are equal in the picture to equal ones in the world."""
    return depth * min(_LARGEST, share * math.sqrt(_TYPICAL / depth))


def _draw_intrinsics(config: SceneConfig, rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """From 40 to 85 degrees along the longer side, the centre almost that of the frame."""
    focal = max(config.height, config.width) * np.exp(rng.uniform(np.log(0.55), np.log(1.4)))
    centre = np.array([config.width - 1, config.height - 1]) / 2
    cx, cy = centre + rng.uniform(-0.03, 0.03, 2) * config.width
    return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])

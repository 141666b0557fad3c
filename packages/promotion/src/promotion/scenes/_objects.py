"""Objects before the background: a flat piece, or a box of which three sides are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from promotion.scenes._outlines import draw_outline, rectangle
from promotion.scenes._painter import Painter
from promotion.scenes._planes import Plane
from promotion.scenes._rotations import rotation


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an object is wanted.

    Args:
        centre: In the first camera, in metres.
        size: Its radius if it were a disc, in metres.
        floor: Normal and distance of the floor that it stands on; None leaves it in the air.
        thin: Whether it is a rod or a fence.
        body: Its number.
        boxy: Share of such objects that are boxes, unless thin.
    """

    centre: Float[np.ndarray, "3"]
    size: float
    floor: tuple[Float[np.ndarray, "3"], float] | None
    thin: bool
    body: int
    boxy: float


def draw_object(rng: np.random.Generator, painter: Painter, place: Place) -> list[Plane]:
    """Draw an object at a place; on a floor it stands upright."""
    if not place.thin and rng.random() < place.boxy:
        return _draw_box(rng, painter, place)
    pitch, yaw = rng.normal(0, 0.45, 2).clip(-1, 1)
    roll = rng.normal(0, 0.1) if rng.random() < 0.3 else rng.uniform(0, 2 * np.pi)
    if place.floor:
        pitch, roll = 0.0, 0.0
    turn = rotation(np.array([pitch, yaw, 0])) @ rotation(np.array([0, 0, roll]))
    outline = draw_outline(rng, place.size, thin=place.thin)
    lowest = outline.radius[len(outline.radius) // 4] * outline.half_sizes[1]
    pose = np.column_stack([turn[:, :2], _standing(place, lowest)])
    return [Plane(pose, outline, painter(place.centre[2], place.size), place.body)]


def _draw_box(rng: np.random.Generator, painter: Painter, place: Place) -> list[Plane]:
    sides = 1.6 * place.size * np.exp(rng.normal(0, 0.3, 3))
    lean = np.zeros(3) if place.floor else rng.normal(0, 0.3, 3)
    turn = rotation(lean) @ rotation(np.array([0, rng.uniform(0, np.pi / 2), 0]))
    centre = _standing(place, sides[1] / 2)
    planes = []
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        towards = -np.sign(turn[:, axis] @ centre)  # the side that faces the camera
        origin = centre + towards * sides[axis] / 2 * turn[:, axis]
        pose = np.column_stack([turn[:, first], turn[:, second], origin])
        outline = rectangle(sides[first], sides[second])
        planes.append(Plane(pose, outline, painter(place.centre[2], place.size), place.body))
    return planes


def _standing(place: Place, lowest: float) -> Float[np.ndarray, "3"]:
    """The centre, moved up or down so that what reaches this far below it meets the floor."""
    if not place.floor:
        return place.centre
    normal, distance = place.floor
    x, _, z = place.centre
    return np.array([x, (distance - normal[0] * x - normal[2] * z) / normal[1] - lowest, z])

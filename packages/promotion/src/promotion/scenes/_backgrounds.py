"""Endless planes that fill the frame: a wall, often a floor, at times a second wall beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from promotion.scenes._config import SceneConfig
from promotion.scenes._painter import Painter
from promotion.scenes._planes import Plane
from promotion.scenes._rotations import rotation

_SKY = 10.0  # times as far as the street is seen
_SIDES = {"room": (1.5, 4.0), "street": (4.0, 12.0)}  # metres
_STEEPEST = 0.5  # radians: with the widest lens, rays through the corners still meet the wall


@dataclass(frozen=True)
class Background:
    """The planes behind the objects.

    Args:
        planes: The wall, which every ray meets, and perhaps others.
        floor: Normal n and distance d of the floor n.X = d, if there is one.
    """

    planes: tuple[Plane, ...]
    floor: tuple[Float[np.ndarray, "3"], float] | None


PlaceKind = Literal["room", "street"]


def draw_kind(config: SceneConfig, rng: np.random.Generator) -> PlaceKind | None:
    """Draw what place a scene is."""
    if not (config.rooms or config.streets):
        return None
    share = rng.random()
    if share < config.rooms:
        return "room"
    return "street" if share < config.rooms + config.streets else None


def draw_background(
    rng: np.random.Generator, painter: Painter, distance: float, kind: PlaceKind | None = None
) -> Background:
    """Draw the background.

    Args:
        rng: Where chance comes from.
        painter: Draws surfaces.
        distance: Of the wall along the optical axis, in metres; of a street, how far it is seen.
        kind: What place it is.
    """
    if kind is not None:
        return _draw_place(rng, painter, distance, kind)
    has_floor, has_side = rng.random() < 0.75, rng.random() < 0.25
    lean = rng.normal(0, 0.08 if has_floor else 0.3, 2)
    lean *= min(1.0, _STEEPEST / float(np.linalg.norm(lean)))
    roll = rng.uniform(0, 2 * np.pi) if rng.random() < 0.6 else 0.0
    facing = rotation(np.array([*lean, 0])) @ rotation(np.array([0, 0, roll]))
    planes = [_endless(painter, facing, np.array([0, 0, distance]), distance)]
    floor = None
    camera_roll = rotation(np.array([0, 0, rng.normal(0, 0.06)]))
    if has_floor:
        height = float(np.exp(rng.normal(np.log(1.5), 0.3)))
        pitch = rotation(np.array([np.pi / 2 + rng.normal(0, 0.06), 0, 0]))
        planes.append(_endless(painter, camera_roll @ pitch, np.array([0, height, 0]), 3 * height))
        normal = (camera_roll @ pitch)[:, 2]
        floor = normal, float(normal[1] * height)
    if has_side:
        away = rng.choice([-1, 1]) * np.exp(rng.uniform(np.log(1.5), np.log(6)))
        yaw = rotation(np.array([0, np.pi / 2 + rng.normal(0, 0.15), 0]))
        planes.append(_endless(painter, camera_roll @ yaw, np.array([away, 0, 0]), 3 * abs(away)))
    return Background(tuple(planes), floor)


def _draw_place(
    rng: np.random.Generator, painter: Painter, distance: float, kind: PlaceKind
) -> Background:
    """A room, whose far wall closes it, or a street, which ends under the sky."""
    camera = rotation(rng.normal(0, 0.04, 3).clip(-0.1, 0.1))
    spread = 0.25 if kind == "room" else 0.05
    turned = rotation(np.array([0, np.clip(spread * rng.normal(), -0.35, 0.35), 0]))
    if kind == "room":
        planes = [_endless(painter, camera @ turned, np.array([0, 0, distance]), distance)]
    else:
        away = _SKY * distance
        pose = np.column_stack([camera[:, :2], [0, 0, away]])
        planes = [Plane(pose, None, painter(away, away, plain=True), body=0)]
    height = float(np.exp(rng.normal(np.log(1.5), 0.15)))
    level = camera @ rotation(np.array([np.pi / 2, 0, 0]))
    planes.append(_endless(painter, level, np.array([0, height, 0]), 3 * height))
    floor = level[:, 2], float(level[1, 2] * height)
    if kind == "room":
        above = rng.uniform(0.8, 1.8)
        planes.append(_endless(painter, level, np.array([0, -above, 0]), 3 * above))
    for side in (-1, 1):
        if kind == "street" and rng.random() < 0.25:
            continue
        away = side * np.exp(rng.uniform(*np.log(_SIDES[kind])))
        facing = camera @ turned @ rotation(np.array([0, np.pi / 2, 0]))
        planes.append(_endless(painter, facing, np.array([away, 0, 0]), 3 * abs(away)))
    return Background(tuple(planes), floor)


def _endless(
    painter: Painter,
    turn: Float[np.ndarray, "3 3"],
    origin: Float[np.ndarray, "3"],
    depth: float,
) -> Plane:
    pose = np.column_stack([turn[:, :2], origin])
    return Plane(pose, None, painter(depth, depth), body=0)

"""What is where in both frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from promotion.scenes._config import SceneConfig
from promotion.scenes._layouts import Layout, draw_layout
from promotion.scenes._motions import LONGEST_OPEN, scaled_twists
from promotion.scenes._planes import View, view
from promotion.scenes._twists import Motion, Twists, draw_twists

_SHORTEST_OPEN = 0.1  # share of the time between the frames
_MOMENTS = 7  # that are averaged


@dataclass(frozen=True)
class DrawnScene:
    """A scene before any light falls on it: planes, their motion, and both views of them."""

    layout: Layout
    motion: Motion
    first: View
    second: View


@dataclass(frozen=True)
class DrawnWorld:
    """Planes, how they are seen first, and how far each body turns and shifts in all."""

    layout: Layout
    first: View
    twists: Twists

    def moved(self, share: float) -> DrawnScene:
        """The first view and the one after this share of the motion."""
        motion = self.twists.scaled(share)
        poses = np.stack([plane.pose for plane in self.layout.planes])
        bodies = np.array([plane.body for plane in self.layout.planes])
        moved = _moved(poses, motion, bodies)
        second = view(self.layout.planes, moved, self.layout.zoomed(share))
        return DrawnScene(self.layout, motion, self.first, second)


def draw_world(config: SceneConfig, rng: np.random.Generator) -> DrawnWorld:
    """Draw a layout and a motion, and look at it before."""
    layout = draw_layout(config, rng)
    poses = np.stack([plane.pose for plane in layout.planes])
    first = view(layout.planes, poses, layout.intrinsics)
    twists = scaled_twists(config, layout, draw_twists(config, layout, rng), first, rng)
    return DrawnWorld(layout, first, twists)


def open_shutter(
    config: SceneConfig, world: DrawnWorld, rng: np.random.Generator
) -> tuple[list[View], list[View]]:
    """What each frame sees while the shutter is open: around the moment that its truth is of."""
    steps = np.zeros(1)
    if config.shutter and rng.random() < config.shutter:
        steps = rng.uniform(_SHORTEST_OPEN, LONGEST_OPEN) * np.linspace(-0.5, 0.5, _MOMENTS)
    first, second = ([world.moved(moment + step).second for step in steps] for moment in (0.0, 1.0))
    return first, second


def draw_scene(config: SceneConfig, rng: np.random.Generator) -> DrawnScene:
    """Draw a layout and a motion, and look at it before and after."""
    return draw_world(config, rng).moved(1.0)


def _moved(
    poses: Float[np.ndarray, "k 3 3"], motion: Motion, bodies: Int[np.ndarray, "k"]
) -> Float[np.ndarray, "k 3 3"]:
    """Axes turn by A, origins move by A X + b."""
    moved: Float[np.ndarray, "k 3 3"] = motion.matrices[bodies] @ poses
    moved[:, :, 2] += motion.offsets[bodies]
    return moved

"""What is where in both frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from promotion.scenes._config import SceneConfig
from promotion.scenes._layouts import Layout, draw_layout
from promotion.scenes._motions import scaled_motion
from promotion.scenes._planes import View, view
from promotion.scenes._twists import Motion, draw_twists


@dataclass(frozen=True)
class DrawnScene:
    """A scene before any light falls on it: planes, their motion, and both views of them."""

    layout: Layout
    motion: Motion
    first: View
    second: View


def draw_scene(config: SceneConfig, rng: np.random.Generator) -> DrawnScene:
    """Draw a layout and a motion, and look at it before and after."""
    layout = draw_layout(config, rng)
    poses = np.stack([plane.pose for plane in layout.planes])
    first = view(layout.planes, poses, layout.intrinsics)
    motion = scaled_motion(config, layout, draw_twists(config, layout, rng), first, rng)
    bodies = np.array([plane.body for plane in layout.planes])
    second = view(layout.planes, _moved(poses, motion, bodies), layout.intrinsics)
    return DrawnScene(layout, motion, first, second)


def _moved(
    poses: Float[np.ndarray, "k 3 3"], motion: Motion, bodies: Int[np.ndarray, "k"]
) -> Float[np.ndarray, "k 3 3"]:
    """Axes turn by A, origins move by A X + b."""
    moved: Float[np.ndarray, "k 3 3"] = motion.matrices[bodies] @ poses
    moved[:, :, 2] += motion.offsets[bodies]
    return moved

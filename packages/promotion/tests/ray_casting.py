"""What a scene's truth must be, by one ray a pixel: slow, and written apart from the renderer."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import Float

from promotion.scenes import SceneConfig, render_scene
from promotion.scenes._drawn import DrawnScene, draw_scene
from promotion.scenes._planes import Plane


def is_there(plane: Plane, pose: Float[np.ndarray, "3 3"], point: Float[np.ndarray, "3"]) -> bool:
    """Whether a point of an endless plane belongs to the piece of it that is there."""
    if plane.outline is None:
        return True
    s, t = np.linalg.lstsq(pose[:, :2], point - pose[:, 2], rcond=None)[0]
    s, t = s / plane.outline.half_sizes[0], t / plane.outline.half_sizes[1]
    angles = np.linspace(0, 2 * np.pi, len(plane.outline.radius))
    if np.hypot(s, t) >= np.interp(np.arctan2(t, s) % (2 * np.pi), angles, plane.outline.radius):
        return False
    bars = plane.outline.bars
    return bars == 0 or bool((s * bars / 2) % 1 < plane.outline.fill)


def first_hit(
    drawn: DrawnScene, x: float, y: float, frame: int
) -> tuple[int, Float[np.ndarray, "3"]]:
    """Send one ray through a pixel: the body it meets first, and where."""
    camera = drawn.layout.intrinsics.copy()
    if frame == 2:
        camera[[0, 1], [0, 1]] *= drawn.layout.zoom
    ray = np.linalg.inv(camera) @ np.array([x, y, 1.0])
    hits = []
    for plane in drawn.layout.planes:
        pose = plane.pose.copy()
        if frame == 2:
            pose = drawn.motion.matrices[plane.body] @ plane.pose
            pose[:, 2] += drawn.motion.offsets[plane.body]
        normal = np.cross(pose[:, 0], pose[:, 1])
        depth = (normal @ pose[:, 2]) / (normal @ ray)  # n.X = d, X = z ray
        if depth > 0 and is_there(plane, pose, depth * ray):
            hits.append((depth, plane.body))
    depth, body = min(hits)
    return body, depth * ray


def check_truth(config: SceneConfig, seed: int, *, points: int) -> None:
    """Follow points of a scene as rigid motion has it, and compare with its truth."""
    drawn, scene = draw_scene(config, np.random.default_rng(seed)), render_scene(config, seed)
    second_camera = drawn.layout.intrinsics.copy()
    second_camera[[0, 1], [0, 1]] *= drawn.layout.zoom
    np.testing.assert_allclose(scene.intrinsics, drawn.layout.intrinsics, rtol=1e-6)
    np.testing.assert_allclose(scene.intrinsics2, second_camera, rtol=1e-6)
    last = np.array([config.width - 1, config.height - 1])
    places = np.random.default_rng(seed).integers(0, [config.height, config.width], (points, 2))
    for y, x in places:
        body, point = first_hit(drawn, x, y, frame=1)
        moved = drawn.motion.matrices[body] @ point + drawn.motion.offsets[body]
        landed = (second_camera @ moved)[:2] / moved[2]
        outside = bool(((landed < -1e-6) | (landed > last + 1e-6)).any())
        hidden = first_hit(drawn, landed[0], landed[1], frame=2)[1][2] < moved[2] * (1 - 1e-6)

        np.testing.assert_allclose(scene.flow[:, y, x], landed - (x, y), atol=1e-4)
        assert scene.occlusion[y, x].item() == (hidden or outside)
        assert scene.depth1[y, x].item() == pytest.approx(point[2], rel=1e-6)
        seen_in_second = first_hit(drawn, x, y, frame=2)[1]
        assert scene.depth2[y, x].item() == pytest.approx(seen_in_second[2], rel=1e-6)

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import Float

from promotion.scenes import SceneConfig, render_scene
from promotion.scenes._drawn import DrawnScene, draw_scene
from promotion.scenes._planes import Plane

SMALL = SceneConfig(height=24, width=32, clutter=0.2)


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
    ray = np.linalg.inv(drawn.layout.intrinsics) @ np.array([x, y, 1.0])
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


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_truth_is_that_of_points_that_move_rigidly(seed: int) -> None:
    drawn = draw_scene(SMALL, np.random.default_rng(seed))
    scene = render_scene(SMALL, seed)
    np.testing.assert_allclose(scene.intrinsics, drawn.layout.intrinsics, rtol=1e-6)
    for y, x in np.random.default_rng(seed).integers(0, [24, 32], (20, 2)):
        body, point = first_hit(drawn, x, y, frame=1)
        moved = drawn.motion.matrices[body] @ point + drawn.motion.offsets[body]
        x2, y2 = (drawn.layout.intrinsics @ moved)[:2] / moved[2]
        outside = not (-1e-6 <= x2 <= 31 + 1e-6 and -1e-6 <= y2 <= 23 + 1e-6)
        hidden = first_hit(drawn, x2, y2, frame=2)[1][2] < moved[2] * (1 - 1e-6)

        np.testing.assert_allclose(scene.flow[:, y, x], [x2 - x, y2 - y], atol=1e-4)
        assert scene.occlusion[y, x].item() == (hidden or outside)
        assert scene.depth1[y, x].item() == pytest.approx(point[2], rel=1e-6)
        seen_in_second = first_hit(drawn, x, y, frame=2)[1]
        assert scene.depth2[y, x].item() == pytest.approx(seen_in_second[2], rel=1e-6)


def test_depth_of_the_second_frame_is_that_of_what_lands_there() -> None:
    config, compared = SceneConfig(rigid=1.0, stereo=0.0), 0
    for seed in range(5):
        drawn, scene = draw_scene(config, np.random.default_rng(seed)), render_scene(config, seed)
        y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
        points = torch.stack([x, y, torch.ones_like(x)], -1) * scene.depth1[..., None]
        points = points.double() @ scene.intrinsics.double().inverse().T
        moved = points @ torch.from_numpy(drawn.motion.matrices[0, 2])
        moved += drawn.motion.offsets[0, 2]
        columns, rows = (x + scene.flow[0]).round().long(), (y + scene.flow[1]).round().long()
        seen = ~scene.occlusion & (scene.flow - scene.flow.round()).abs().lt(0.02).all(0)
        compared += int(seen.sum())
        close = (scene.depth2[rows[seen], columns[seen]] / moved[seen] - 1).abs() < 0.02
        assert close.float().mean() > 0.97  # an edge may lie between a landing point and a centre
    assert compared > 50


@pytest.mark.parametrize("seed", range(4))
def test_camera_alone_moves_in_a_rigid_scene(seed: int) -> None:
    config = SceneConfig(height=48, width=64, rigid=1.0, stereo=0.0)
    drawn, scene = draw_scene(config, np.random.default_rng(seed)), render_scene(config, seed)
    y, x = np.mgrid[0:48, 0:64].astype(np.float64)
    points = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(drawn.layout.intrinsics).T
    points *= scene.depth1.numpy()[..., None]
    moved = points @ drawn.motion.matrices[0].T + drawn.motion.offsets[0]
    landed = moved @ drawn.layout.intrinsics.T
    flow = landed[..., :2] / landed[..., 2:] - np.stack([x, y], -1)
    np.testing.assert_allclose(scene.flow.permute(1, 2, 0), flow, atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_stereo_scene_moves_sideways_by_disparity(seed: int) -> None:
    scene = render_scene(SceneConfig(rigid=0.0, stereo=1.0), seed)
    baselines = scene.flow[0] * scene.depth1 / scene.intrinsics[0, 0]
    assert scene.flow[1].abs().max() < 1e-6
    torch.testing.assert_close(baselines, baselines.mean().expand_as(baselines), rtol=1e-4, atol=0)
    assert not scene.occlusion.all(1).any()  # rows that stay in the frame are not all hidden


def test_objects_move_on_their_own_in_the_other_scenes() -> None:
    config = SceneConfig(rigid=0.0, stereo=0.0)
    motions = [draw_scene(config, np.random.default_rng(seed)).motion for seed in range(10)]
    moving = [
        any(not np.allclose(matrix, motion.matrices[0]) for matrix in motion.matrices[1:])
        for motion in motions
    ]
    assert all(moving)

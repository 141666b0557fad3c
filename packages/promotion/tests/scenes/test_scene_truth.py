from __future__ import annotations

import numpy as np
import pytest
import torch

from promotion.scenes import SceneConfig, render_scene
from promotion.scenes._drawn import draw_scene
from ray_casting import check_truth

SMALL = SceneConfig(height=24, width=32, clutter=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_truth_is_that_of_points_that_move_rigidly(seed: int) -> None:
    check_truth(SMALL, seed, points=20)


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

from __future__ import annotations

import numpy as np
import pytest
import torch

from promotion.geometry import pinhole, point_cloud, scene_flow
from promotion.scenes import SceneConfig, render_scene
from promotion.scenes._drawn import draw_scene
from tokenseek_common import InputError


def test_points_lie_on_the_rays_of_their_pixels() -> None:
    intrinsics = pinhole(50.0, 20, 30)
    depth = 1 + torch.rand(20, 30)
    points = point_cloud(depth, intrinsics)
    assert points[2].equal(depth)
    seen = torch.einsum("ij,jhw->ihw", intrinsics, points)
    x, y = seen[:2] / seen[2]
    torch.testing.assert_close(x, torch.arange(30.0).expand(20, 30), rtol=0, atol=1e-4)
    torch.testing.assert_close(y, torch.arange(20.0)[:, None].expand(20, 30), rtol=0, atol=1e-4)


def test_scene_flow_is_the_rigid_motion_of_what_both_frames_show() -> None:
    config = SceneConfig(height=48, width=64, rigid=1.0, stereo=0.0, objects=(0, 2), clutter=0.0)
    compared = 0
    for seed in range(6):
        drawn = draw_scene(config, np.random.default_rng(seed))
        scene = render_scene(config, seed)
        found = scene_flow(scene.depth1, scene.depth2, scene.flow, scene.intrinsics).double()
        points = point_cloud(scene.depth1.double(), scene.intrinsics.double())
        matrix, offset = (
            torch.from_numpy(m[0]) for m in (drawn.motion.matrices, drawn.motion.offsets)
        )
        truth = torch.einsum("ij,jhw->ihw", matrix, points) + offset[:, None, None] - points
        apart = (found - truth).norm(dim=0) / scene.depth1
        inside = apart[~scene.occlusion]
        # At the edges of depth the second frame's is blended between what is near and far.
        assert (inside < 1e-4).float().mean() > 0.8
        compared += len(inside)
    assert compared > 6 * 1000


def test_what_cannot_be_lifted_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        pinhole(0, 20, 30)
    assert str(caught.value) == "focal (0) must be above 0 pixels; 0.9 of the width is usual"
    depth = torch.ones(4, 5)
    hole = depth.clone()
    hole[0, :2] = 0
    with pytest.raises(InputError) as caught:
        scene_flow(depth, hole, torch.zeros(2, 4, 5), torch.eye(3))
    assert str(caught.value) == "depth2 (2 pixels) must be above 0 everywhere; fill it first"

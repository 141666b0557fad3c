"""Each kind of scene: what makes it that kind, and that its truth is exact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from promotion.scenes import SceneConfig, render_scene
from promotion.scenes._drawn import draw_scene
from ray_casting import check_truth

SMALL = SceneConfig(height=24, width=32)
KINDS = ("rooms", "streets", "still", "slow", "fast", "zoom", "shutter", "plain", "fog")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_truth_of_each_kind_is_that_of_points_that_move_rigidly(kind: str, seed: int) -> None:
    share: dict[str, Any] = {kind: 1.0}
    check_truth(replace(SMALL, **share), seed, points=15)


def test_nothing_moves_and_nothing_is_hidden_in_a_still_scene() -> None:
    config = replace(SMALL, still=1.0, noise=0.0, gamma=0.0, blur=0.0)
    for seed in range(5):
        scene = render_scene(config, seed)
        assert scene.flow.abs().max() < 1e-5
        assert not scene.occlusion.any()
        torch.testing.assert_close(scene.image1, scene.image2, atol=1e-5, rtol=0)


def test_slow_scenes_move_by_two_pixels_at_most_on_average() -> None:
    config = replace(SMALL, slow=1.0, motion=0.3)
    lengths = [float(render_scene(config, seed).flow.norm(dim=0).mean()) for seed in range(12)]
    assert max(lengths) < 2.2
    assert min(lengths) < 0.5


def test_fast_bodies_are_small_and_leave_the_mean_motion_behind() -> None:
    config = replace(SMALL, height=96, width=128, fast=1.0, motion=0.02, rigid=1.0, stereo=0.0)
    far = []
    for seed in range(12):
        drawn = draw_scene(config, np.random.default_rng(seed))
        assert 1 <= len(drawn.layout.fast) <= 3
        for body in drawn.layout.fast:
            centre = drawn.layout.centres[body]
            landed = drawn.motion.matrices[body] @ centre + drawn.motion.offsets[body]
            with_world = drawn.motion.matrices[0] @ centre + drawn.motion.offsets[0]
            places = [
                (drawn.layout.intrinsics @ each)[:2] / each[2] for each in (landed, with_world)
            ]
            far.append(np.linalg.norm(places[0] - places[1]))
            planes = [plane for plane in drawn.layout.planes if plane.body == body]
            for plane in planes:
                assert plane.outline is not None
                reach = np.linalg.norm(plane.outline.corners(), axis=1).max()
                assert reach * drawn.layout.intrinsics[0, 0] / centre[2] < 0.4 * 128
    lengths = np.array(far)
    assert np.median(lengths) > 0.05 * 128
    assert lengths.max() < 0.35 * 128


def test_a_zoom_scales_what_stays_where_it_is_about_the_centre() -> None:
    config = replace(SMALL, zoom=1.0, still=1.0)
    factors = []
    for seed in range(8):
        scene = render_scene(config, seed)
        factor = float(scene.intrinsics2[0, 0] / scene.intrinsics[0, 0])
        y, x = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
        centre = scene.intrinsics[:2, 2, None, None]
        expected = (factor - 1) * (torch.stack([x, y]) - centre)
        torch.testing.assert_close(scene.flow, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scene.intrinsics2[:2, 2], scene.intrinsics[:2, 2])
        factors.append(factor)
    assert min(factors) < 1 / 1.02 < 1.02 < max(factors) <= 1.15


def test_an_open_shutter_smears_what_moves_and_nothing_else() -> None:
    sharp = replace(SMALL, noise=0.0, gamma=0.0, blur=0.0, motion=0.15)
    for seed in range(4):
        still, open_still = (
            render_scene(replace(sharp, still=1.0, shutter=share), seed) for share in (0.0, 1.0)
        )
        torch.testing.assert_close(open_still.image1, still.image1, atol=1e-4, rtol=0)
        slopes = [
            render_scene(replace(sharp, shutter=share), seed).image2.diff(dim=-1).abs().mean()
            for share in (0.0, 1.0)
        ]
        assert slopes[1] < 0.98 * slopes[0]


@pytest.mark.parametrize("seed", range(6))
def test_each_ray_of_a_room_ends_near_and_the_camera_stays_inside(seed: int) -> None:
    drawn = draw_scene(replace(SMALL, rooms=1.0), np.random.default_rng(seed))
    scene = render_scene(replace(SMALL, rooms=1.0), seed)
    world = [plane for plane in drawn.layout.planes if plane.outline is None]
    assert len(world) == 5  # a wall ahead, floor, ceiling, and one to each side
    assert scene.depth1.max() < 30
    assert scene.depth2.max() < 40


def test_streets_have_a_road_below_and_plain_sky_above() -> None:
    config = replace(SMALL, height=48, width=64, streets=1.0, noise=0.0)
    skies, road = [], []
    for seed in range(12):
        scene = render_scene(config, seed)
        sky = scene.depth1 > 150
        skies.append(float(sky[:12].float().mean()))
        assert sky[-6:].float().mean() < 0.1
        road.append(float(scene.depth1[-1].median()))
        assert not scene.depth1.isnan().any()
    assert np.mean(skies) > 0.2
    assert max(road) < 10


def test_fog_hides_what_is_far_more_than_what_is_near() -> None:
    clear, thick = (
        replace(SMALL, height=48, width=64, noise=0.0, gamma=0.0, blur=0.0, fog=share)
        for share in (0.0, 1.0)
    )
    spreads = []
    for seed in range(12):
        depth = render_scene(thick, seed).depth1
        far = depth > depth.median()
        spreads.append(
            [float(render_scene(config, seed).image1[:, far].std()) for config in (clear, thick)]
        )
    plain, foggy = np.mean(spreads, axis=0)
    assert foggy < 0.6 * plain


def test_plain_surfaces_show_hardly_any_texture() -> None:
    def slope(plain: float) -> float:
        config = replace(SMALL, height=48, width=64, noise=0.0, plain=plain)
        images = torch.stack([render_scene(config, seed).image1 for seed in range(8)])
        return float(images.diff(dim=-1).abs().mean())

    assert slope(1.0) < 0.5 * slope(0.0)


def test_scenes_without_new_kinds_are_those_of_before() -> None:
    """Seeds of the held-out scenes name the same scenes in all versions."""
    scene = render_scene(SMALL, 3)
    assert float(scene.flow.double().sum()) == pytest.approx(-565.79379, rel=1e-5)
    assert float(scene.image2.double().sum()) == pytest.approx(928.64454, rel=1e-5)

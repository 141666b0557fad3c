from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import kornia
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promotion.datasets import AugmentConfig, Augmentor, Sample
from promotion.datasets._augment import crop, flip_sideways, flip_upside_down
from promotion.datasets._colours import jitter
from promotion.scenes import SceneConfig, SceneDataset
from tokenseek_common import InputError

STILL = AugmentConfig(
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    hue=0.0,
    asymmetric=0.0,
    scale=(0.0, 0.0),
    stretch=0.0,
    flip_sideways=0.0,
    flip_upside_down=0.0,
    occlude=0.0,
)
CLEAN = SceneConfig(height=60, width=80, noise=0.0, gamma=0.0, blur=0.0)
SCENES = SceneDataset(CLEAN, count=8, seed=0)


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(first: Sample, second: Sample) -> bool:
    names = [field.name for field in fields(Sample)]
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


def match_error(sample: Sample, flow: Tensor) -> float:
    """How far the second frame, looked up through the flow, is from the first."""
    height, width = flow.shape[1:]
    x, y = torch.arange(width) + flow[0], torch.arange(height)[:, None] + flow[1]
    warped = kornia.geometry.remap(sample.image2[None], x[None], y[None], align_corners=True)[0]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return float((warped - sample.image1).abs().mean(0)[inside].median())


def one_pixel(flow: tuple[float, float], row: int, column: int) -> Sample:
    """A bright pixel of depth 5 that moves by a whole flow over a black 4 x 6 frame."""
    image1, image2 = torch.zeros(3, 4, 6), torch.zeros(3, 4, 6)
    image1[:, row, column] = 1
    image2[:, row + int(flow[1]), column + int(flow[0])] = 1
    known = image1[0] > 0
    motion = torch.tensor(flow)[:, None, None] * known
    return Sample(image1, image2, motion, known, 5.0 * known, known)


@pytest.mark.parametrize(
    ("flip", "place", "flow"),
    [(flip_sideways, (1, 4), (-2.0, 1.0)), (flip_upside_down, (2, 1), (2.0, -1.0))],
)
def test_flip_moves_pixels_and_turns_vectors(
    flip: Any, place: tuple[int, int], flow: tuple[float, float]
) -> None:
    flipped = flip(one_pixel((2.0, 1.0), row=1, column=1))
    assert same(flipped, one_pixel(flow, row=place[0], column=place[1]))


def test_crop_cuts_all_fields_alike() -> None:
    cut = crop(one_pixel((2.0, 1.0), row=1, column=1), top=1, left=1, height=3, width=4)
    assert cut.image1.shape == (3, 3, 4)
    assert cut.image1[:, 0, 0].eq(1).all()
    assert cut.image2[:, 1, 2].eq(1).all()
    assert cut.flow[:, 0, 0].tolist() == [2, 1]
    assert cut.depth[0, 0] == 5
    assert cut.depth_valid.sum() == 1


def test_nothing_changes_when_nothing_is_varied() -> None:
    assert same(Augmentor(STILL)(SCENES[0], 60, 80, chance(0)), SCENES[0])


@pytest.mark.parametrize(("scaled_depth", "depth"), [("divided", 3.0), ("kept", 6.0)])
def test_magnification_by_two_doubles_the_flow(scaled_depth: Any, depth: float) -> None:
    sample = Sample(
        torch.rand(3, 8, 10),
        torch.rand(3, 8, 10),
        torch.tensor([3.0, -1.0])[:, None, None].expand(2, 8, 10),
        torch.ones(8, 10, dtype=torch.bool),
        torch.full((8, 10), 6.0),
        torch.ones(8, 10, dtype=torch.bool),
    )
    config = replace(STILL, scale=(1.0, 1.0), scaled_depth=scaled_depth)
    varied = Augmentor(config)(sample, 16, 20, chance(0))
    torch.testing.assert_close(varied.flow, 2 * sample.flow[:, :1, :1].expand(2, 16, 20))
    torch.testing.assert_close(varied.depth, torch.full((16, 20), depth))
    assert varied.depth_valid.all()


def test_stretch_scales_the_axes_apart() -> None:
    config = replace(STILL, stretch=0.5, stretch_chance=1.0, scale=(1.0, 1.0))
    flow = torch.ones(2, 60, 80)
    factors = []
    for seed in range(5):
        sample = replace(SCENES[0], flow=flow)
        varied = Augmentor(config)(sample, 60, 80, chance(seed)).flow
        assert varied.amax((1, 2)).allclose(varied.amin((1, 2)), atol=1e-5)
        factors.append(varied[:, 0, 0])
        assert all(2**0.45 < factor < 2**1.55 for factor in varied[:, 0, 0])
    assert len({round(float(u / v), 4) for u, v in factors}) > 1


@pytest.mark.parametrize("seed", range(8))
def test_flow_still_brings_the_second_frame_to_the_first(seed: int) -> None:
    usual = AugmentConfig()
    spatial = replace(
        STILL, scale=usual.scale, stretch=usual.stretch, flip_sideways=0.5, flip_upside_down=0.5
    )
    scene = SCENES[seed]
    before = match_error(scene, scene.flow)
    for draw in range(3):
        varied = Augmentor(spatial)(scene, 48, 64, chance(draw))
        assert match_error(varied, varied.flow) < 1.2 * before + 0.004
        assert match_error(varied, varied.flow) < match_error(varied, 0 * varied.flow)


@pytest.mark.parametrize("seed", range(3))
def test_both_frames_are_recoloured_alike_unless_they_are_not_to_be(seed: int) -> None:
    scene = replace(SCENES[seed], image2=SCENES[seed].image1)
    config = replace(STILL, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.16)
    alike = Augmentor(config)(scene, 60, 80, chance(seed))
    torch.testing.assert_close(alike.image1, alike.image2)
    assert (alike.image1 - scene.image1).abs().mean() > 0.01
    apart = Augmentor(replace(config, asymmetric=1.0))(scene, 60, 80, chance(seed))
    assert (apart.image1 - apart.image2).abs().mean() > 0.01


def test_full_turn_of_hue_gives_the_colours_back() -> None:
    frames = torch.rand(3, 5, 5, generator=chance(0))
    turned = kornia.enhance.adjust_hue(frames, 2 * math.pi)
    torch.testing.assert_close(turned, frames, atol=1e-4, rtol=0)
    assert jitter(frames, replace(STILL, hue=0.5), chance(1)).ne(frames).any()


def test_occluders_hide_parts_of_the_second_frame_alone() -> None:
    config = replace(STILL, occlude=1.0, occluder=(0.2, 0.3))
    for seed in range(10):
        scene = SCENES[seed % 8]
        varied = Augmentor(config)(scene, 60, 80, chance(seed))
        assert torch.equal(varied.image1, scene.image1)
        assert torch.equal(varied.flow, scene.flow)
        hidden = varied.image2.ne(scene.image2).any(0)
        assert 0 < hidden.sum() <= 2 * 24**2
        filled = scene.image2.mean((1, 2))[:, None].expand_as(varied.image2[:, hidden])
        torch.testing.assert_close(varied.image2[:, hidden], filled)


def test_same_state_of_the_generator_gives_the_same_sample() -> None:
    augment = Augmentor(AugmentConfig(asymmetric=1.0, occlude=1.0))
    first = augment(SCENES[0], 32, 40, chance(3))
    assert same(first, augment(SCENES[0], 32, 40, chance(3)))
    assert not same(first, augment(SCENES[0], 32, 40, chance(4)))


@settings(max_examples=30, deadline=None)
@given(height=st.integers(16, 90), width=st.integers(16, 120), seed=st.integers(0, 1000))
def test_any_size_is_reached_with_finite_truth(height: int, width: int, seed: int) -> None:
    varied = Augmentor(AugmentConfig())(SCENES[seed % 8], height, width, chance(seed))
    assert varied.image1.shape == varied.image2.shape == (3, height, width)
    assert varied.flow.shape == (2, height, width)
    assert varied.flow_valid.shape == varied.depth.shape == (height, width)
    for image in (varied.image1, varied.image2):
        assert image.min() >= 0
        assert image.max() <= 1
    assert varied.flow.isfinite().all()
    assert varied.depth.min() > 0


def test_sparse_truth_stays_what_it_was() -> None:
    flow = torch.zeros(2, 60, 80)
    valid = torch.zeros(60, 80, dtype=torch.bool)
    valid[::5, ::5] = True
    flow[0, valid], flow[1, valid] = 4.0, -2.0
    sample = replace(SCENES[0], flow=flow, flow_valid=valid, depth=7.0 * valid, depth_valid=valid)
    for seed in range(5):
        varied = Augmentor(AugmentConfig.sparse())(sample, 48, 64, chance(seed))
        known = varied.flow[:, varied.flow_valid]
        assert 0.02 < varied.flow_valid.float().mean() < 0.3
        assert torch.equal(varied.flow_valid, varied.depth_valid)
        vertical = known[1].mean()
        torch.testing.assert_close(known[1], vertical.expand_as(known[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(known[0].abs(), -2 * known[1], rtol=0.05, atol=0)
        assert (varied.flow[:, ~varied.flow_valid] == 0).all()
        assert (varied.depth[~varied.depth_valid] == 0).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"contrast": 1.5}, "contrast (1.5) must be from 0 to 1; choose another contrast"),
        ({"occlude": -0.1}, "occlude (-0.1) must be from 0 to 1; choose another occlude"),
        ({"hue": 0.6}, "hue (0.6) must be from 0 to 0.5; choose another hue"),
        ({"stretch": 2.0}, "stretch (2) must be from 0 to 1; choose another stretch"),
        (
            {"scale": (0.5, -0.2)},
            "scale (0.5, -0.2) must be two numbers from -3 to 3 in ascending order; "
            "choose another scale",
        ),
        (
            {"occluder": (0.0, 0.5)},
            "occluder (0, 0.5) must be two shares of the width in ascending order; "
            "choose another occluder",
        ),
    ],
)
def test_field_out_of_its_range_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        AugmentConfig(**options)
    assert str(caught.value) == told

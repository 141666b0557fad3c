from __future__ import annotations

from dataclasses import fields

import kornia
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promotion.datasets import Sample
from promotion.scenes import Scene, SceneConfig, SceneDataset, render_scene
from promotion.scenes._drawn import draw_scene
from promotion.scenes._planes import first_met
from promotion.scenes._textures import grey_texture, procedural_texture


def warped(image: Tensor, flow: Tensor) -> Tensor:
    """Sample the second frame where each pixel of the first lands."""
    height, width = flow.shape[1:]
    x, y = torch.arange(width) + flow[0], torch.arange(height)[:, None] + flow[1]
    return kornia.geometry.remap(image[None], x[None], y[None], align_corners=True)[0]


def same(first: Scene, second: Scene) -> bool:
    names = [field.name for field in fields(Scene)]
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(16, 50),
    width=st.integers(16, 50),
    seed=st.integers(0, 2**40),
    fewest=st.integers(0, 3),
    clutter=st.sampled_from([0.0, 1.0]),
    motion=st.floats(0.001, 0.3),
)
def test_every_scene_has_finite_fields_of_the_right_shape_and_range(
    height: int, width: int, seed: int, fewest: int, clutter: float, motion: float
) -> None:
    config = SceneConfig(
        height=height, width=width, objects=(fewest, 4), clutter=clutter, motion=motion
    )
    scene = render_scene(config, seed)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(["image1", "image2"], (3, height, width))
    shapes |= {"flow": (2, height, width), "intrinsics": (3, 3), "intrinsics2": (3, 3)}
    for field in fields(Scene):
        value = getattr(scene, field.name)
        assert value.shape == shapes.get(field.name, (height, width))
        assert value.isfinite().all()
    for image in (scene.image1, scene.image2):
        assert image.dtype == torch.float32
        assert image.min() >= 0
        assert image.max() <= 1
    assert scene.flow_valid.all()
    assert scene.flow.norm(dim=0).mean() > 0
    for depth in (scene.depth1, scene.depth2):
        assert depth.min() > 0.05
        assert depth.max() < 1000
    leaves = landing_outside(scene.flow)
    assert (scene.occlusion | ~leaves).all()  # what leaves the frame is occluded
    assert not scene.occlusion.all()


def landing_outside(flow: Tensor) -> Tensor:
    height, width = flow.shape[1:]
    x = torch.arange(width) + flow[0].double()
    y = torch.arange(height)[:, None] + flow[1].double()
    return (x < -1e-3) | (x > width - 1 + 1e-3) | (y < -1e-3) | (y > height - 1 + 1e-3)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 64), (64, 16)])
def test_background_is_met_by_every_ray_of_both_frames(height: int, width: int) -> None:
    config = SceneConfig(height=height, width=width, objects=(0, 0), motion=0.3)
    x = np.array([[-0.5, width - 0.5]])
    y = np.array([[-0.5], [height - 0.5]])
    for seed in range(60):
        drawn = draw_scene(config, np.random.default_rng(seed))
        for seen in (drawn.first, drawn.second):
            met, inverse_depth = first_met(seen, x, y)
            assert met.min() >= 0
            assert inverse_depth.min() >= 1 / 1000


def test_second_frame_warped_by_the_flow_is_the_first_where_it_is_seen() -> None:
    config = SceneConfig(noise=0.0, gamma=0.0, blur=0.0)
    errors, zero_errors = [], []
    for seed in range(20):
        scene = render_scene(config, seed)
        seen = ~scene.occlusion
        difference = (warped(scene.image2, scene.flow) - scene.image1).abs().mean(0)
        errors.append(difference[seen].mean())
        zero_errors.append((scene.image2 - scene.image1).abs().mean(0)[seen].mean())
    error, zero_error = torch.stack(errors).mean(), torch.stack(zero_errors).mean()
    assert error < 0.35 * zero_error
    assert error < 0.03


def test_occluded_pixels_match_worse_than_the_others() -> None:
    worse = 0
    for seed in range(10):
        scene = render_scene(SceneConfig(noise=0.0, gamma=0.0, blur=0.0), seed)
        difference = (warped(scene.image2, scene.flow) - scene.image1).abs().mean(0)
        hidden = scene.occlusion & ~landing_outside(scene.flow)
        worse += int(difference[hidden].mean() > 2 * difference[~scene.occlusion].mean())
    assert worse >= 9


@pytest.mark.slow
def test_mean_length_of_the_flow_is_about_what_is_wanted() -> None:
    for motion in (0.02, 0.08):
        config = SceneConfig(height=32, width=48, motion=motion)
        lengths = [render_scene(config, seed).flow.norm(dim=0).mean() / 48 for seed in range(50)]
        assert torch.stack(lengths).mean().item() == pytest.approx(motion, rel=0.3)


def test_a_seed_gives_one_scene_whatever_was_rendered_before() -> None:
    config = SceneConfig(height=24, width=32)
    first = render_scene(config, 7)
    render_scene(config, 8)
    procedural_texture.cache_clear()
    grey_texture.cache_clear()
    assert same(first, render_scene(config, 7))
    assert not same(first, render_scene(config, 8))


def test_frames_without_noise_or_change_of_light_are_taken_alike() -> None:
    config = SceneConfig(noise=0.0, gamma=0.0, blur=0.0, stereo=1.0, rigid=0.0, motion=1e-6)
    scene = render_scene(config, 0)
    torch.testing.assert_close(scene.image1, scene.image2, atol=2e-3, rtol=0)
    noisy = render_scene(SceneConfig(noise=0.1, gamma=0.2, blur=1.0, motion=1e-6), 0)
    assert (noisy.image1 - noisy.image2).abs().mean() > 0.01


def test_item_of_the_data_set_is_the_scene_of_its_seed() -> None:
    config = SceneConfig(height=24, width=32)
    dataset = SceneDataset(config, count=5, seed=10)
    assert len(dataset) == 5
    for index, seed in ((3, 13), (-1, 14)):
        sample, scene = dataset[index], render_scene(config, seed)
        assert isinstance(sample, Sample)
        assert torch.equal(sample.image1, scene.image1)
        assert torch.equal(sample.image2, scene.image2)
        assert torch.equal(sample.flow, scene.flow)
        assert torch.equal(sample.depth, scene.depth1)
        assert sample.flow_valid.all()
        assert sample.depth_valid.all()


def test_index_beyond_the_data_set_is_refused() -> None:
    dataset = SceneDataset(SceneConfig(height=16, width=16), count=2, seed=0)
    with pytest.raises(IndexError) as caught:
        dataset[2]
    assert str(caught.value) == "index (2) must be below 2, the number of scenes"


def test_samples_of_the_data_set_make_a_batch() -> None:
    dataset = SceneDataset(SceneConfig(height=16, width=24), count=3, seed=0)
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, collate_fn=Sample.stack)
    assert next(iter(loader)).flow.shape == (3, 2, 16, 24)

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from promotion import ProMotion, ProMotionConfig
from promotion._pretrained import SHIPPED
from promotion.metrics import Alignment, Crop, DepthAccumulator, FlowAccumulator
from promotion.scenes import SceneConfig, SceneDataset
from promotion.training._evaluate import HELD_OUT


@pytest.fixture(scope="module")
def model() -> ProMotion:
    return ProMotion.from_pretrained()


def test_they_are_of_the_size_tiny_and_small_enough_for_a_wheel(model: ProMotion) -> None:
    assert model.config == ProMotionConfig.size("tiny")
    assert (SHIPPED / "model.safetensors").stat().st_size < 8e6
    assert "## Limits" in (SHIPPED / "README.md").read_text(encoding="utf-8")


def test_they_find_flow_and_depth_in_scenes_that_none_was_trained_on(model: ProMotion) -> None:
    scenes = SceneDataset(SceneConfig(height=96, width=128), count=6, seed=HELD_OUT + 4)
    flow, still = FlowAccumulator(), FlowAccumulator()
    depth, flat = (DepthAccumulator(alignment=Alignment.MEDIAN, crop=Crop.NONE) for _ in range(2))
    for number in range(6):
        sample = scenes[number]
        found = model.predict(sample.image1, sample.image2)
        assert found.flow is not None
        flow.update(found.flow, sample.flow, sample.flow_valid)
        still.update(0 * sample.flow, sample.flow, sample.flow_valid)
        depth.update(found.depth, sample.depth, sample.depth_valid)
        flat.update(torch.ones_like(sample.depth), sample.depth, sample.depth_valid)
    assert flow.compute().epe < 0.4 * still.compute().epe
    assert depth.compute().abs_rel < 0.8 * flat.compute().abs_rel


def test_a_picture_that_does_not_move_has_no_flow(model: ProMotion) -> None:
    picture = SceneDataset(SceneConfig(height=96, width=128), count=1, seed=HELD_OUT)[0].image1
    found = model.predict(picture, picture, confidence=True)
    assert found.flow is not None
    assert found.occlusion is not None
    assert found.confidence is not None
    assert found.flow.norm(dim=0).mean() < 0.02
    assert not found.occlusion.any()
    assert found.confidence.mean() > 0.8


def test_blank_pictures_have_no_flow_and_confidence_says_that_none_could_be_told(
    model: ProMotion,
) -> None:
    blank = torch.full((3, 100, 150), 0.5)
    found = model.predict(blank, 0.9 * blank, confidence=True)
    assert found.flow is not None
    assert found.occlusion is not None
    assert found.confidence is not None
    assert (found.flow == 0).all()
    assert not found.occlusion.any()
    assert found.confidence.max() < 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_finds_about_the_same_in_every_view(
    model: ProMotion, dtype: torch.dtype
) -> None:
    sample = SceneDataset(SceneConfig(height=96, width=160), count=1, seed=HELD_OUT + 5)[0]
    expected = model.predict(sample.image1, sample.image2)
    with torch.autocast("cpu", dtype):
        by_autocast = model.predict(sample.image1, sample.image2)
    whole = copy.deepcopy(model).to(dtype).predict(sample.image1, sample.image2)
    assert expected.flow is not None
    for found in (by_autocast, whole):
        assert found.flow is not None
        assert found.flow.dtype == found.depth.dtype == torch.float32
        assert (found.flow - expected.flow).norm(dim=0).median() < 0.05
        assert (found.depth.log() - expected.depth.log()).abs().mean() < 0.1


@pytest.mark.parametrize("period", [4, 8])
def test_errors_do_not_repeat_with_the_cells(blocks: Tensor, period: int) -> None:
    """Their power at the period of a view's cells is that of the periods beside it."""
    power = torch.fft.fft2(blocks).abs().square().mean((0, 1))
    k = blocks.shape[-1] // period
    at_cells = beside = 0.0
    for spectrum in (power.sum(0), power.sum(1)):
        at_cells += float(spectrum[k])
        beside += float(spectrum[k - 2] + spectrum[k + 2]) / 2
    assert at_cells < 1.5 * beside


@pytest.fixture(scope="module")
def blocks(model: ProMotion) -> Tensor:
    """Errors of two scenes whose last view is of their own size; small ones, not those of edges."""
    scenes = SceneDataset(SceneConfig(height=256, width=256), count=2, seed=HELD_OUT + 40)
    errors = []
    for number in range(2):
        sample = scenes[number]
        found = model.predict(sample.image1, sample.image2)
        assert found.flow is not None
        errors.append((found.flow - sample.flow).clamp(-0.3, 0.3))
    return torch.stack(errors)

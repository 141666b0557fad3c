from __future__ import annotations

import pytest
import torch

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
    found = model.predict(picture, picture)
    assert found.flow is not None
    assert found.occlusion is not None
    assert found.flow.norm(dim=0).mean() < 0.5
    assert found.occlusion.float().mean() < 0.05

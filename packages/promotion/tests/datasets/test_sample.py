from __future__ import annotations

import torch

from promotion.datasets import Sample
from promotion.scenes import SceneConfig, SceneDataset


def test_stack_puts_samples_side_by_side_and_moving_keeps_them() -> None:
    scenes = SceneDataset(SceneConfig(height=16, width=24), count=2, seed=0)
    batch = Sample.stack([scenes[0], scenes[1]]).to("cpu")
    assert batch.image1.shape == (2, 3, 16, 24)
    assert torch.equal(batch.flow[1], scenes[1].flow)
    assert torch.equal(batch.depth_valid[0], scenes[0].depth_valid)

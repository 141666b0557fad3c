"""Scenes as a data set: the source that training draws from."""

from __future__ import annotations

from torch.utils.data import Dataset

from promotion.datasets._sample import Sample
from promotion.scenes._config import SceneConfig
from promotion.scenes._scene import render_scene


class SceneDataset(Dataset[Sample]):
    """Procedural scenes, made when they are asked for.

    Item i is the scene of ``seed + i``, so that it does not depend on the number of workers.

    Args:
        config: What the scenes look like.
        count: How many there are.
        seed: Of the first.

    Example:
        >>> dataset = SceneDataset(SceneConfig(height=64, width=96), count=800, seed=0)
        >>> dataset[0].image1.shape
        torch.Size([3, 64, 96])
    """

    def __init__(self, config: SceneConfig, *, count: int, seed: int) -> None:
        self.config = config
        self.count = count
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not -self.count <= index < self.count:
            raise IndexError(f"index ({index}) must be below {self.count}, the number of scenes")
        scene = render_scene(self.config, self.seed + index % self.count)
        return Sample(
            image1=scene.image1,
            image2=scene.image2,
            flow=scene.flow,
            flow_valid=scene.flow_valid,
            depth=scene.depth1,
            depth_valid=scene.flow_valid,
        )

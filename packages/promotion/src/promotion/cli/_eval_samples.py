"""What a model is measured on: samples with truth, from a data set or from held-out scenes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Bool
from torch import Tensor

from promotion.datasets import FolderDataset, Sample
from promotion.scenes import SceneConfig, render_scene


@dataclass(frozen=True)
class Case:
    """A sample and what it is called."""

    name: str
    sample: Sample
    occlusion: Bool[Tensor, "h w"] | None
    """Which pixels the second frame does not show, where that is known."""


def samples_of(dataset: FolderDataset, folder: Path, count: int) -> Iterator[Case]:
    """The first samples of a data set, each called after its first frame."""
    for number in range(count):
        files = dataset.files[number]
        name = files.image1.relative_to(folder)
        yield Case(name.as_posix(), files.read(), files.read_occlusion())


def scenes_of(config: SceneConfig, count: int) -> Iterator[Case]:
    """Held-out scenes: always the same, and none of them trained on."""
    from promotion.training._evaluate import HELD_OUT  # what comes with it takes seconds to import

    for number in range(count):
        scene = render_scene(config, HELD_OUT + number)
        truth = (scene.flow, scene.flow_valid, scene.depth1, scene.flow_valid)
        sample = Sample(scene.image1, scene.image2, *truth)
        yield Case(f"scene {number}", sample, scene.occlusion)

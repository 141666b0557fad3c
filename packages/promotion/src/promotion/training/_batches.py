"""Batches by the number of their step: what a step sees depends on the seed and its number alone.

So a run that goes on from a checkpoint sees what it would have seen, with any number of workers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import Dataset

from promotion.datasets import Augmentor, Sample
from promotion.scenes import SceneConfig, SceneDataset
from promotion.training._config import StageConfig, TrainingConfig
from tokenseek_common import InputError

POOL = 256
"""Scenes that are varied and used in turn before the next ones are rendered."""

MARGIN = 1.25
"""Scenes are rendered larger than a batch is, so that there is something to crop."""

MOST_SCENES = 2**31
"""Of one training; those of an evaluation come after the last seed's."""


class StepBatches(Dataset[Sample | InputError]):
    """The batch of each step, as item number `step`; or why there is none.

    An error is handed on, not raised: a loader would put its worker's traceback into the sentence.

    Args:
        config: The training.
        rank: Which process this is.
        processes: How many there are.
    """

    def __init__(self, config: TrainingConfig, *, rank: int = 0, processes: int = 1) -> None:
        self.config, self.rank, self.processes = config, rank, processes
        self.augment = Augmentor(config.augment)

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> Sample | InputError:
        """What `batch` gives, or the error that it raises."""
        try:
            return self.batch(step)
        except InputError as error:
            return error

    def batch(self, step: int) -> Sample:
        """Draw the pictures of a step and vary them."""
        stage, _ = self.config.stage_at(step)
        first = step * self.processes * stage.batch_size
        # A scene that is used again keeps its size, so that it need not be rendered again.
        height, width = stage.sizes[_draw(len(stage.sizes), generator_of(self._seed(first)))]
        here = generator_of(self.config.seed, step, self.rank)
        samples = []
        for place in range(stage.batch_size):
            seed = self._seed(first + self.rank * stage.batch_size + place)
            sample = self._source(stage, seed, scenes_of(stage, height, width), here)
            samples.append(self.augment(sample, height, width, here))
        return Sample.stack(samples)

    def _seed(self, number: int) -> int:
        """Which scene the training's sample of this number is: pools are gone through in turn."""
        pool, within = divmod(number, POOL * self.config.reuse)
        return self.config.seed * MOST_SCENES + pool * POOL + within % POOL

    def _source(
        self, stage: StageConfig, seed: int, scenes: SceneConfig, generator: torch.Generator
    ) -> Sample:
        """A scene, or something from one of the stage's folders, each by its share."""
        shares = [stage.scenes_share, *(folder.share for folder in stage.folders)]
        choice = int(torch.multinomial(torch.tensor(shares), 1, generator=generator))
        if choice:
            folder = stage.folders[choice - 1].open()
            return folder[_draw(len(folder), generator)]
        return _scene(scenes, seed)


def scenes_of(stage: StageConfig, height: int, width: int) -> SceneConfig:
    """A stage's scenes, larger than what is cropped from them."""
    return replace(stage.scenes, height=round(MARGIN * height), width=round(MARGIN * width))


def generator_of(*numbers: int) -> torch.Generator:
    """A generator of its own for several numbers."""
    return torch.Generator().manual_seed(seed_of(*numbers))


def seed_of(*numbers: int) -> int:
    """A seed that mixes several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@lru_cache(maxsize=POOL)
def _scene(config: SceneConfig, seed: int) -> Sample:
    return SceneDataset(config, count=1, seed=seed)[0]


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))

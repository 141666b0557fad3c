from __future__ import annotations

from pathlib import Path

import pytest
import torch

from promotion import ProMotionConfig
from promotion.io import write_flow, write_image
from promotion.training import StageConfig, TrainingConfig
from promotion.training._folders import FolderConfig
from promotion.training._trainer import Trainer
from tokenseek_common import InputError
from tokenseek_common.cli import Console


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_named_in_one_sentence(tmp_path: Path, workers: int) -> None:
    chairs = tmp_path / "chairs"
    chairs.mkdir()
    for number in (1, 2):
        write_image(chairs / f"00001_img{number}.ppm", torch.rand(3, 32, 32))
    write_flow(chairs / "00001_flow.flo", torch.zeros(2, 32, 32))
    damaged = chairs / "00001_img2.ppm"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    stage = StageConfig(
        name="flow",
        steps=1,
        tasks=("flow",),
        sizes=((16, 16),),
        batch_size=1,
        scenes_share=0,
        folders=(FolderConfig(path=chairs, layout="flying-chairs"),),
    )
    config = TrainingConfig(stages=(stage,), model=ProMotionConfig.size("nano"), workers=workers)
    with pytest.raises(InputError) as error:
        Trainer(config, tmp_path, Console(quiet=True)).run()
    assert str(error.value).startswith(f"{damaged} must be an undamaged image (image file is trun")
    assert "\n" not in str(error.value)

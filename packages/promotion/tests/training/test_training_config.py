from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from promotion import ProMotionConfig
from promotion.training import StageConfig, TrainingConfig, read_training_config
from promotion.training._config import write_training_config
from tokenseek_common import InputError

STAGE = {"name": "flow", "steps": 10}


def write(folder: Path, content: Any) -> Path:
    path = folder / "training.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_a_file_is_read_into_typed_settings(tmp_path: Path) -> None:
    stage = STAGE | {"tasks": ["flow"], "sizes": [[64, 96]], "scenes": {"motion": 0.1}}
    content = {"model": {"size": "nano", "prototypes": 4}, "stages": [stage], "clip": 2}
    config = read_training_config(write(tmp_path, content))
    assert config.model == ProMotionConfig.size("nano", prototypes=4)
    (read,) = config.stages
    assert (read.tasks, read.sizes, read.scenes.motion) == (("flow",), ((64, 96),), 0.1)
    assert (config.clip, config.steps) == (2.0, 10)


def test_folders_are_paths_or_have_a_layout_and_a_share(tmp_path: Path) -> None:
    folders = ["chairs", {"path": "things", "layout": "flying-things-final", "share": 3}]
    stage = STAGE | {"folders": folders, "scenes_share": 0}
    path = write(tmp_path, {"stages": [stage], "validation": ["kitti"]})
    config = read_training_config(path)
    chairs, things = config.stages[0].folders
    assert (chairs.path, chairs.layout, chairs.share) == (Path("chairs"), None, 1)
    assert (things.path, things.layout) == (Path("things"), "flying-things-final")
    assert things.share == 3
    assert config.validation[0].path == Path("kitti")
    write_training_config(config, path)
    assert read_training_config(path) == config
    with pytest.raises(InputError, match=re.escape("chairs must be a folder; check the path")):
        replace(config, validation=()).open_folders()


def test_all_but_the_stages_has_a_default(tmp_path: Path) -> None:
    assert read_training_config(write(tmp_path, {"stages": [STAGE]})).model == ProMotionConfig()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"stages": [STAGE], "lr": 1}, "lr in config (PATH) cannot be used: Unexpected keyword"),
        ({}, "stages in config (PATH) cannot be used: Field required"),
        (
            {"stages": [STAGE | {"steps": "many"}]},
            "stages.0.steps in config (PATH) cannot be used: Input should be a valid integer",
        ),
        (
            {"stages": [STAGE], "loss": {"margin": -1}},
            "loss in config (PATH) cannot be used: margin (-1.0) must be at least 0; 0 switches it",
        ),
        (
            {"stages": [STAGE | {"folders": [{"path": "a", "layout": "chairs"}]}]},
            "stages.0.folders.0.layout in config (PATH) cannot be used: Input should be 'flying-ch",
        ),
        (
            {"stages": [STAGE | {"folders": [{"path": "a", "share": 0}]}]},
            "stages.0.folders.0 in config (PATH) cannot be used: share (0.0) must be above 0;",
        ),
        (
            {"stages": [STAGE | {"scenes_share": 0}]},
            "stages.0 in config (PATH) cannot be used: scenes_share (0.0) must be above 0, or 0 wh",
        ),
        (
            {"stages": [STAGE], "validation_samples": 0},
            "everything in config (PATH) cannot be used: validation_samples (0) must be at least 1",
        ),
        (
            {"stages": [STAGE], "model": {"size": "huge"}},
            "model in config (PATH) cannot be used: size (huge) must be one of nano, tiny",
        ),
        (
            {"stages": [STAGE], "model": {"chanels": 32}},
            "model in config (PATH) cannot be used: chanels must be a field of the model's config",
        ),
        (
            {"stages": [STAGE], "model": {"channels": "many"}},
            "model.channels in config (PATH) cannot be used: Input should be a valid integer",
        ),
        (
            {"stages": [STAGE], "model": {"assignment": "foo"}},
            "model.assignment in config (PATH) cannot be used: Input should be 'sinkhorn', 'kme",
        ),
        ([1], "everything in config (PATH) cannot be used: Input should be a dictionary"),
        ("a: [", "config (PATH) must be YAML; while parsing a flow node"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, content: Any, said: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError) as error:
        read_training_config(path)
    assert str(error.value).startswith(said.replace("PATH", str(path)))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_training_config(tmp_path / "absent.yaml")
    assert str(error.value) == (
        f"config ({tmp_path / 'absent.yaml'}) must be a readable file; check the path"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps (0) must be at least 1; raise it"),
        ({"sizes": ((60, 96),)}, "sizes (60 x 96) must be multiples of 8; choose the nearest"),
        ({"learning_rate": 0.0}, "learning_rate (0.0) must be above 0; 4e-4 is usual"),
        (
            {"encoder_rate": -1.0},
            "encoder_rate (-1.0) must be above 0; 1 is the decoders' rate, and frozen: [features] "
            "keeps it as it is",
        ),
        ({"tasks": ()}, "tasks ([]) must not be empty; name one at least"),
        ({"sizes": ()}, "sizes ([]) must not be empty; name one at least"),
        (
            {"frozen_memory": 7.0},
            "frozen_memory (7.0) must be from 0 to 1; it is a share of the stage",
        ),
        (
            {"tasks": ("flow",), "frozen": ("features", "flow")},
            "frozen (features, flow) must leave something to learn for tasks (flow); take one out",
        ),
    ],
)
def test_stages_out_of_range_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        StageConfig(**STAGE | changes)  # type: ignore[arg-type]
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stages": ()}, "stages ([]) must not be empty; name one at least"),
        *(
            ({name: 0}, f"{name} (0) must be at least 1; raise it")
            for name in ("reuse", "save_every", "evaluate_every", "held_out")
        ),
        ({"workers": -1}, "workers (-1) must be at least 0; 0 renders in the process itself"),
        ({"seed": -1}, "seed (-1) must be from 0 to 2147483647; choose one"),
        ({"seed": 2**31}, "seed (2147483648) must be from 0 to 2147483647; choose one"),
        ({"weight_decay": -5.0}, "weight_decay (-5.0) must be at least 0; 0 switches it off"),
        ({"clip": -1.0}, "clip (-1.0) must be above 0; .inf clips nothing"),
        (
            {"average": 1.5},
            "average (1.5) must be at least 0 and below 1; 0 saves the weights as they are",
        ),
    ],
)
def test_numbers_of_a_training_are_checked_before_it_begins(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as error:
        TrainingConfig(**{"stages": (StageConfig(name="flow", steps=1),)} | changes)
    assert str(error.value) == said

"""What a training is: a YAML file, read into frozen dataclasses."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from promotion._config import ProMotionConfig
from promotion._losses import LossConfig
from promotion._model import BOTH, TaskName
from promotion.datasets import AugmentConfig
from promotion.scenes import SceneConfig
from promotion.training._folders import Folder
from tokenseek_common import InputError, replacing

PartName = Literal["features", "flow", "depth"]
PARTS: tuple[PartName, ...] = get_args(PartName)

MOST_SEEDS = 2**31
"""Seeds of trainings: each has as many scenes, and those of evaluations come after the last."""

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """A part of the training with settings and a learning-rate cycle of its own.

    Raises:
        InputError: A number is out of its range.
    """

    __pydantic_config__ = STRICT

    name: str
    """What the log calls it."""

    steps: int
    """Optimizer steps."""

    tasks: tuple[TaskName, ...] = BOTH
    """What is learned."""

    batch_size: int = 4
    """Pairs of a step, on each process."""

    sizes: tuple[tuple[int, int], ...] = ((96, 128),)
    """Height and width; each step draws one, evaluations take the tallest. Multiples of 8."""

    scenes: SceneConfig = field(default_factory=SceneConfig)
    """What rendered scenes are like; they are somewhat larger than what is cropped from them."""

    scenes_share: float = 1.0
    """How often a scene is drawn, beside the shares of the folders; 0 trains on folders alone."""

    folders: tuple[Folder, ...] = ()
    """Data sets on disk: paths, each drawn from as often as the scenes, or `path`, `layout` and
    `share` of each."""

    iterations: int = 6
    """Of the flow decoder."""

    learning_rate: float = 4e-4
    """At the peak of the cycle."""

    encoder_rate: float = 1.0
    """Factor on the learning rate of what comes before the decoders."""

    frozen_memory: float = 0.0
    """Share of the stage, at its begin, in which the prototypes stay where they are."""

    frozen: tuple[PartName, ...] = ()
    """What stays as it is: the features, with their prototypes, or a decoder."""

    def __post_init__(self) -> None:
        _check_counts(self, "steps", "batch_size", "iterations")
        _check_not_empty(self, "tasks", "sizes")
        for height, width in self.sizes:
            if height < 8 or width < 8 or height % 8 or width % 8:
                raise InputError(
                    f"sizes ({height} x {width}) must be multiples of 8; choose the nearest"
                )
        if not 0 <= self.scenes_share < math.inf or (self.scenes_share == 0 and not self.folders):
            raise InputError(
                f"scenes_share ({self.scenes_share}) must be above 0, or 0 where there are "
                "folders; raise it, or name folders"
            )
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate ({self.learning_rate}) must be above 0; 4e-4 is usual")
        if not 0 < self.encoder_rate < math.inf:
            raise InputError(
                f"encoder_rate ({self.encoder_rate}) must be above 0; 1 is the decoders' rate, and "
                "frozen: [features] keeps it as it is"
            )
        if not 0 <= self.frozen_memory <= 1:
            raise InputError(
                f"frozen_memory ({self.frozen_memory}) must be from 0 to 1; it is a share of the "
                "stage"
            )
        if not {"features", *self.tasks} - set(self.frozen):
            raise InputError(
                f"frozen ({', '.join(self.frozen)}) must leave something to learn for tasks "
                f"({', '.join(self.tasks)}); take one out"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A whole training.

    Raises:
        InputError: A number is out of its range.
    """

    __pydantic_config__ = STRICT

    stages: tuple[StageConfig, ...]
    """One after the other."""

    model: ProMotionConfig = field(default_factory=ProMotionConfig)
    """The network; `size` names a size whose values the others change."""

    start: str | None = None
    """Weights to begin with: a folder or a hub id. None begins at random."""

    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the losses."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How samples are varied."""

    seed: int = 0
    """Of everything random."""

    weight_decay: float = 1e-4
    """Of AdamW."""

    clip: float = 1.0
    """Largest norm of the gradient."""

    average: float = 0.999
    """Decay of the running average of the weights, which is what is saved and evaluated."""

    reuse: int = 4
    """Times that a rendered scene is trained on, each time varied anew."""

    workers: int = 1
    """Processes that render."""

    save_every: int = 500
    """Steps between checkpoints."""

    evaluate_every: int = 500
    """Steps between evaluations on held-out scenes."""

    held_out: int = 32
    """Scenes of an evaluation."""

    validation: tuple[Folder, ...] = ()
    """Data sets on disk that each evaluation measures too, as `promotion eval` does."""

    validation_samples: int = 16
    """Samples of each of them, evenly spaced."""

    def __post_init__(self) -> None:
        _check_not_empty(self, "stages")
        _check_counts(
            self, "reuse", "save_every", "evaluate_every", "held_out", "validation_samples"
        )
        if self.workers < 0:
            raise InputError(
                f"workers ({self.workers}) must be at least 0; 0 renders in the process itself"
            )
        if not 0 <= self.seed < MOST_SEEDS:
            raise InputError(f"seed ({self.seed}) must be from 0 to {MOST_SEEDS - 1}; choose one")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(
                f"weight_decay ({self.weight_decay}) must be at least 0; 0 switches it off"
            )
        if not self.clip > 0:
            raise InputError(f"clip ({self.clip}) must be above 0; .inf clips nothing")
        if not 0 <= self.average < 1:
            raise InputError(
                f"average ({self.average}) must be at least 0 and below 1; 0 saves the weights "
                "as they are"
            )

    def open_folders(self) -> None:
        """Find out whether all data sets on disk are there.

        Raises:
            InputError: One is not.
        """
        for folder in (*self.validation, *(each for s in self.stages for each in s.folders)):
            folder.open()

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[StageConfig, int]:
        """The stage that a step, counted from 0, belongs to, and the stage's first step."""
        first = 0
        for stage in self.stages:
            if step < first + stage.steps:
                return stage, first
            first += stage.steps
        raise IndexError(step)


def _check_counts(config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise InputError(f"{name} ({getattr(config, name)}) must be at least 1; raise it")


def _check_not_empty(config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name):
            raise InputError(f"{name} ([]) must not be empty; name one at least")


def read_training_config(path: Path) -> TrainingConfig:
    """Read a YAML file.

    Raises:
        InputError: It cannot be read, or something in it is not as it must be.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"config ({path}) must be a readable file; check the path") from error
    except yaml.YAMLError as error:
        raise InputError(f"config ({path}) must be YAML; {' '.join(str(error).split())}") from error
    return training_config(content, path)


def training_config(content: Any, path: Path) -> TrainingConfig:
    """The same of what the file holds; `path` is named in errors."""
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content | {"model": _model_of(content["model"], path)}
    try:
        return TypeAdapter(TrainingConfig).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "everything"
        cause = first.get("ctx", {}).get("error")
        said = str(cause) if isinstance(cause, InputError) else first["msg"]
        raise InputError(f"{where} in config ({path}) cannot be used: {said}") from error


def _model_of(block: dict[str, Any], path: Path) -> dict[str, Any]:
    """All fields of a model of some size, the block's own in place of the size's, unchecked."""
    try:
        size = ProMotionConfig.size(block.get("size", "tiny"))
        own = {name: value for name, value in block.items() if name != "size"}
        size.check_names(own)
    except InputError as error:
        raise InputError(f"model in config ({path}) cannot be used: {error}") from error
    return asdict(size) | own


def write_training_config(config: TrainingConfig, path: Path) -> None:
    """Write a file from which `read_training_config` reads the same; it is there whole or not."""
    with replacing(path) as part:
        part.write_text(yaml.safe_dump(_plain(config), sort_keys=False), encoding="utf-8")


def first_difference(
    ours: TrainingConfig, theirs: TrainingConfig
) -> tuple[str, object, object] | None:
    """The first field that two trainings do not share, and both its values; None if none."""
    first, second = _flat(_plain(ours)), _flat(_plain(theirs))
    for name in first | second:
        values = first.get(name, "absent"), second.get(name, "absent")
        if values[0] != values[1]:
            return name, *values
    return None


def _plain(config: TrainingConfig) -> dict[str, Any]:
    """A config as dicts, lists and scalars."""
    plain: dict[str, Any] = TypeAdapter(TrainingConfig).dump_python(config, mode="json")
    return plain


def _flat(value: Any, name: str = "") -> dict[str, object]:
    """The scalars within, by dotted names."""
    entries = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(entries, dict):
        return {name: value}
    flat: dict[str, object] = {}
    for key, entry in entries.items():
        flat |= _flat(entry, f"{name}.{key}" if name else str(key))
    return flat

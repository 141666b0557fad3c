"""Weights from a folder or from the hub, loaded whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from promotion._config import ProMotionConfig
from tokenseek_common import InputError

SHIPPED = Path(__file__).parent / "weights"
"""Where the package carries weights, with a model card."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"

Model = TypeVar("Model", bound=nn.Module)


def load_pretrained(
    cls: type[Model], source: str, config: ProMotionConfig | None, **options: Any
) -> Model:
    """A model of a class with its weights; see `ProMotion.from_pretrained`."""
    folder = Path(source) if Path(source).is_dir() else _download(source, **options)
    given = f"in {folder / CONFIG}" if config is None else "that was given"
    try:
        config = config or ProMotionConfig(**json.loads((folder / CONFIG).read_text("utf-8")))
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise InputError(
            f"weights ({source}) must be a folder with {CONFIG} and {WEIGHTS}, as save_pretrained "
            f"writes it; {error}"
        ) from error
    model = cls(config)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"weights ({source}) must fit the config {given}; {_first_misfit(model, weights)}"
        ) from error
    return model.eval()


def _first_misfit(model: nn.Module, weights: dict[str, Tensor]) -> str:
    """What does not fit, and how."""
    wanted = model.state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        if name not in weights:
            return f"{name} is missing from them"
        if name not in wanted:
            return f"{name} of them is not in the model"
        if wanted[name].shape != weights[name].shape:
            return f"{name} is {list(weights[name].shape)}, not {list(wanted[name].shape)}"
    return "a tensor cannot be copied"


def _download(source: str, **options: Any) -> Path:
    try:
        return Path(snapshot_download(source, allow_patterns=[CONFIG, WEIGHTS], **options))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise InputError(
            f"weights ({source}) must be a folder, or the id of a model on the hub that can be "
            "reached; check the name"
        ) from error

"""Weights from a folder or from the hub, loaded whole or not at all."""

from __future__ import annotations

import json
from dataclasses import fields
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

MODEL_CARD = """---
{{ card_data }}
---

# Weights of a ProMotion model

Optical flow of two pictures, and depth of the first, which is relative unless the training was
metric. `promotion.ProMotion.from_pretrained`, of the package promotion-flow, loads them:

```python
from promotion import ProMotion

model = ProMotion.from_pretrained("this repository's id, or a folder")
motion = model.predict("a.png", "b.png")
motion.flow, motion.depth
```

or, on the command line, `promotion infer a.png b.png --weights ID -o out`. `config.json` has the
sizes.
"""
"""What `save_pretrained` and `push_to_hub` write as README.md, by the rules of huggingface_hub."""

Model = TypeVar("Model", bound=nn.Module)


def load_pretrained(
    cls: type[Model], source: str, config: ProMotionConfig | None, **options: Any
) -> Model:
    """A model of a class with its weights; see `ProMotion.from_pretrained`."""
    folder = Path(source) if Path(source).is_dir() else _download(source, **options)
    given = f"in {folder / CONFIG}" if config is None else "that was given"
    try:
        config = config or _read_config(folder / CONFIG, source)
        weights = load_file(folder / WEIGHTS)
    except InputError:
        raise
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


def _read_config(path: Path, source: str) -> ProMotionConfig:
    given = json.loads(path.read_text("utf-8"))
    known = {field.name for field in fields(ProMotionConfig)}
    if isinstance(given, dict) and given.keys() & known and (newer := given.keys() - known):
        raise InputError(
            f"weights ({source}) must be of a version that this one reads, and their {CONFIG} has "
            f"{', '.join(sorted(newer))}; upgrade promotion-flow"
        )
    return ProMotionConfig(**given)


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

"""What the commands that look at pictures with a model have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch

from promotion._model import ProMotion
from promotion._motion import Motion
from promotion._pictures import Picture
from promotion._views import Quality
from tokenseek_common.cli import CommonOptions, check_counts, resolve_device, resolve_dtype


@dataclass(frozen=True, kw_only=True)
class ModelOptions(CommonOptions):
    """The options of a command that looks at pictures with a model."""

    weights: str | None = None
    """A folder with config.json and model.safetensors, or a hub id; by default the weights that
    come with the package."""

    iterations: int | None = None
    """Corrections of the flow at each scale; by default as many as the model is made for."""

    quality: Quality = "balanced"
    """How fine a view the network itself looks at: fast of 131,072 pixels at most, balanced of 1.5
    million, best of four million; finer ones are left to the photometric step."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision: auto is float32; the shorter ones compute by autocast, and less exactly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"iterations": self.iterations})

    def load(self) -> ProMotion:
        """The model, where it is to compute."""
        device = resolve_device(self.device)
        return ProMotion.from_pretrained(self.weights).to(device)

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Where models compute as `dtype` says."""
        device = resolve_device(self.device)
        dtype = torch.float32 if self.dtype == "auto" else resolve_dtype(self.dtype, device)
        with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
            yield

    def look(
        self,
        model: ProMotion,
        image1: Picture,
        image2: Picture | None,
        *,
        confidence: bool = False,
    ) -> Motion:
        """What the model finds, on the CPU."""
        with self.precision():
            motion = model.predict(
                image1,
                image2,
                iterations=self.iterations,
                quality=self.quality,
                confidence=confidence,
            )
        return _on_cpu(motion)

    def look_through(
        self, model: ProMotion, frames: Iterable[Picture], *, confidence: bool
    ) -> Iterator[Motion]:
        """What the model finds in each frame of a sequence, on the CPU."""
        motions = model.predict_frames(
            frames, iterations=self.iterations, quality=self.quality, confidence=confidence
        )
        while True:
            with self.precision():  # not while others compute
                motion = next(motions, None)
            if motion is None:
                return
            yield _on_cpu(motion)


def _on_cpu(motion: Motion) -> Motion:
    found: dict[str, Any] = {field.name: getattr(motion, field.name) for field in fields(motion)}
    return replace(motion, **{n: v.cpu() for n, v in found.items() if v is not None})

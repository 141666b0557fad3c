"""Where figures are recorded, and what they are called."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from samples import ROOT

RESULTS = ROOT / "benchmarks/results/promotion-flow"

OURS, CONSTANT, RAMP = "ProMotion", "constant", "row ramp"
METHODS = (OURS, "DIS", "DIS, finest", "Farneback", "no motion")
"""Of flow, as tables call them."""

RIVALS_OF_COST = ("raft_small, ptlflow", "raft_small, torchvision")
"""Whose time and memory are measured beside ours."""

PREDICT_CALLS = (
    "predict",
    "predict, fast",
    "predict, with confidence",
    "promotion infer",
    "DIS",
    "DIS, finest",
    "raft_small",
)
"""What users call, timed whole."""

PREDICT_SIZES = ((192, 256), (436, 1024), (1080, 1920), (2160, 3840))
"""At these sizes."""

INFER_LENGTHS = (120, 480)
"""Frames of the videos that the command is measured on."""

COST_SIZES = ((96, 128), (128, 192), (192, 256), (384, 512), (448, 1024))
"""Of pictures whose time and memory is measured."""

EXPORT_SIZES = ((96, 128), (192, 256), (384, 512))
"""Of pictures that exported models are timed on."""

REAL_SIZES: tuple[tuple[int, int] | None, ...] = ((96, 128), (192, 256), None)
"""At which real pictures are measured; None leaves them as they are."""


def size_name(size: tuple[int, int] | None) -> str:
    """A size as tables say it, rows first."""
    return "full" if size is None else "{}x{}".format(*size)


def weights_hash(folder: Path) -> str:
    """Which weights a figure was measured with."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]


def read(path: Path) -> dict[str, Any]:
    """What was recorded, if anything was."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(path: Path, record: dict[str, Any]) -> None:
    """Record figures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

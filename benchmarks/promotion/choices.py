"""How the numbers of `predict` were chosen: on generated scenes that nothing else is measured on.

Each choice is tried in place, everything else as it ships; a cell is a file under
benchmarks/results/promotion-flow/choices. Endpoint errors in pixels: the mean, the mean over pixels
that both frames show, and their median; beside them the processor seconds of a pair.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from records import RESULTS, read, weights_hash, write

from promotion import ProMotion
from promotion._pretrained import SHIPPED
from promotion.nn import _rematching
from promotion.scenes import Scene, SceneConfig, render_scene
from promotion.training._evaluate import HELD_OUT

CELLS = RESULTS / "choices"
FIRST = HELD_OUT + 5000
"""Seed of the first scene, beyond those of the accuracy table."""

SCENES = (
    (SceneConfig(height=192, width=256), 8),
    (SceneConfig(height=384, width=512, motion=0.08), 4),
    (SceneConfig(height=224, width=704, motion=0.08), 4),
)
"""What they look like, and how many."""

Change = Callable[[], AbstractContextManager[Any]]


def refinement(**numbers: float) -> Change:
    """Other numbers of the photometric step."""
    return partial(patch.multiple, "promotion._variational", **numbers)


def margin(value: float) -> Change:
    """Another margin of matching again."""
    defaults = {"margin": value}
    return partial(patch.object, _rematching.rematched, "__kwdefaults__", defaults)


def as_given(first: object, second: object, flow: torch.Tensor) -> torch.Tensor:
    """Flow as the network finds it."""
    return flow


CHOICES: dict[str, tuple[Change, dict[str, Any]]] = {
    "as it ships": (nullcontext, {}),
    "no matching after the first view": (margin(2), {}),
    **{f"margin {value:g}": (margin(value), {}) for value in (0, 0.02, 0.1, 0.2)},
    "no photometric step": (partial(patch, "promotion._predict.refine", as_given), {}),
    "smoothness 0.3": (refinement(SMOOTHNESS=0.3), {}),
    "smoothness 3": (refinement(SMOOTHNESS=3.0), {}),
    "edges of motion from 0.01 pixels": (refinement(MOTION_EDGE=0.01), {}),
    "edges of motion from 0.3 pixels": (refinement(MOTION_EDGE=0.3), {}),
    "no zero where nothing is told": (
        partial(patch, "promotion._predict.or_no_motion", as_given),
        {},
    ),
    "first view of 256 pixels": (partial(patch, "promotion._views.FIRST_SIDE", 256), {}),
    "attention to every cell": (partial(patch, "promotion._seen.MOST_KEYS", 10**9), {}),
    "4 iterations": (nullcontext, {"iterations": 4}),
    "16 iterations": (nullcontext, {"iterations": 16}),
    "32 iterations": (nullcontext, {"iterations": 32}),
    "quality fast": (nullcontext, {"quality": "fast"}),
}
"""What is changed, and how `predict` is called."""


def errors(model: ProMotion, scenes: list[Scene], **options: Any) -> dict[str, float]:
    """Means over scenes of one kind."""
    found: dict[str, list[float]] = {"mean": [], "visible": [], "median": [], "seconds": []}
    for scene in scenes:
        begin = time.process_time()
        flow = model.predict(scene.image1, scene.image2, **options).flow
        found["seconds"].append(time.process_time() - begin)
        assert flow is not None
        error = (flow - scene.flow).norm(dim=0)
        visible = error[~scene.occlusion]
        found["mean"].append(float(error.mean()))
        found["visible"].append(float(visible.mean()))
        found["median"].append(float(visible.median()))
    return {name: statistics.fmean(values) for name, values in found.items()}


def table() -> str:
    """What was recorded, a line for each choice."""
    kinds = [f"{config.height} x {config.width}" for config, _ in SCENES]
    lines = [f"| mean / visible / median, px; s | {' | '.join(kinds)} |"]
    lines.append("|---" * (1 + len(kinds)) + "|")
    for name in CHOICES:
        cells = read(CELLS / f"{file_name(name)}.json")["scenes"]
        shown = (
            f"{cell['mean']:.2f} / {cell['visible']:.2f} / {cell['median']:.2f}; "
            f"{cell['seconds']:.2g}"
            for cell in cells.values()
        )
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def file_name(choice: str) -> str:
    """Of its record."""
    return choice.replace(" ", "-")


def main() -> None:
    """Measure what is not there yet with these weights, and show the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure every choice again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, weights = ProMotion.from_pretrained(), weights_hash(SHIPPED)
    scenes = {
        f"{config.height}x{config.width}": [
            render_scene(config, FIRST + number) for number in range(count)
        ]
        for config, count in SCENES
    }
    for name, (change, called) in CHOICES.items():
        path = CELLS / f"{file_name(name)}.json"
        if options.again or read(path).get("weights") != weights:
            with change():
                found = {kind: errors(model, drawn, **called) for kind, drawn in scenes.items()}
            write(path, {"scenes": found, "weights": weights, "torch": torch.__version__})
            sys.stdout.write(f"{name}: {json.dumps(found)}\n")
            sys.stdout.flush()
    sys.stdout.write(table() + "\n")


if __name__ == "__main__":
    main()

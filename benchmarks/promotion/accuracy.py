"""The shipped weights beside classical methods, on held-out scenes and real pictures.

Each cell is a file under benchmarks/results/promotion-flow/accuracy. A cell that was measured with
the same weights is not measured again (--again does), so a run that was cut off goes on where it
stopped. At the end the tables in the package's README are made anew from the files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from rivals import RIVALS
from samples import DEPTH_PAIRS, FLOW_PAIRS, ROOT, SIZES, RealPair, at_size, held_out

from promotion import ProMotion
from promotion.datasets import Sample
from promotion.metrics import Alignment, Crop, depth_metrics, flow_metrics

RESULTS = ROOT / "benchmarks/results/promotion-flow/accuracy"
README = ROOT / "packages/promotion/README.md"
SCENES = 64
OURS, CONSTANT = "ProMotion", "constant"
REAL_SIZES: tuple[tuple[int, int] | None, ...] = ((96, 128), (192, 256), None)

Figures = dict[str, dict[str, float]]
"""By what was measured, the figure of each method."""


def measure(model: ProMotion, sample: Sample, *, two_frames: bool) -> Figures:
    """Endpoint error in pixels and Abs Rel by median alignment, where the truth is known."""
    found = model.predict(sample.image1, sample.image2 if two_frames else None)
    figures: Figures = {}
    if sample.flow_valid.any() and found.flow is not None:
        flows = {OURS: found.flow} | {name: flow(sample) for name, flow in RIVALS.items()}
        figures["epe"] = {
            name: flow_metrics(flow, sample.flow, sample.flow_valid).epe
            for name, flow in flows.items()
        }
    if sample.depth_valid.any():
        depths = {OURS: found.depth, CONSTANT: torch.ones_like(sample.depth)}
        figures["abs_rel"] = {
            name: depth_metrics(
                depth,
                sample.depth,
                sample.depth_valid,
                alignment=Alignment.MEDIAN,
                crop=Crop.NONE,
            ).abs_rel
            for name, depth in depths.items()
        }
    return figures


def on_scenes(model: ProMotion, height: int, width: int) -> Figures:
    """The means over held-out scenes of one size."""
    scenes = held_out(height, width, SCENES)
    return mean([measure(model, scenes[number], two_frames=True) for number in range(SCENES)])


def on_pair(model: ProMotion, pair: RealPair, size: tuple[int, int] | None) -> Figures:
    """One real pair, or one frame, at one size."""
    sample = at_size(pair.read(), size)
    alone = torch.equal(sample.image1, sample.image2)
    return measure(model, sample, two_frames=not alone)


def mean(all_figures: list[Figures]) -> Figures:
    """The mean of each figure over samples that all have it."""
    return {
        measured: {
            name: statistics.fmean(figures[measured][name] for figures in all_figures)
            for name in methods
        }
        for measured, methods in all_figures[0].items()
    }


def cells(model: ProMotion) -> dict[str, Callable[[], Figures]]:
    """What there is to measure, by the name of its file."""
    found: dict[str, Callable[[], Figures]] = {}
    for height, width in SIZES:
        found[f"scenes-{height}x{width}"] = partial(on_scenes, model, height, width)
    for pair in dict.fromkeys((*FLOW_PAIRS, *DEPTH_PAIRS)):
        for size in REAL_SIZES:
            name = f"{pair.name}-{size_name(size)}"
            found[name] = partial(on_pair, model, pair, size)
    return found


def size_name(size: tuple[int, int] | None) -> str:
    """A size as tables say it, rows first."""
    return "full" if size is None else "{}x{}".format(*size)


def weights_hash(folder: Path) -> str:
    """Which weights a cell was measured with."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]


def recorded(name: str) -> dict[str, Any]:
    """What is on disk of a cell."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def main() -> None:
    """Measure what is not there yet, and write the tables."""
    from tables import write_tables  # which reads what this module measures

    from promotion._pretrained import SHIPPED

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure every cell again")
    parser.add_argument("--weights", type=Path, default=SHIPPED, help="others than those shipped")
    parser.add_argument("--only", default="", help="cells whose names contain this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, weights = ProMotion.from_pretrained(options.weights), weights_hash(options.weights)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, cell in cells(model).items():
        if options.only not in name:
            continue
        if recorded(name).get("weights") == weights and not options.again:
            continue
        record = cell() | {
            "weights": weights,
            "torch": torch.__version__,
            "opencv": cv2.__version__,
            "threads": torch.get_num_threads(),
        }
        text = json.dumps(record, indent=2) + "\n"
        (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}: {json.dumps(record)}\n")
        sys.stdout.flush()
    write_tables()


if __name__ == "__main__":
    main()

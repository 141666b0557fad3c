"""The shipped weights beside classical methods, on held-out scenes and real pictures.

Each cell is a file under benchmarks/results/promotion-flow/accuracy. A cell that was measured with
the same weights is not measured again (--again does), so a run that was cut off goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import torch
from records import (
    CONSTANT,
    OURS,
    RAMP,
    REAL_SIZES,
    RESULTS,
    read,
    size_name,
    weights_hash,
    write,
)
from rivals import RIVALS
from samples import DEPTH_PAIRS, FLOW_PAIRS, SIZES, RealPair, at_size, held_out
from torch import Tensor

from promotion import ProMotion
from promotion._pretrained import SHIPPED
from promotion.datasets import Sample
from promotion.metrics import Alignment, Crop, depth_metrics, flow_metrics
from promotion.scenes import render_scene
from promotion.training._evaluate import HELD_OUT

CELLS = RESULTS / "accuracy"
SCENES = 32

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
        depths = {
            OURS: found.depth,
            CONSTANT: torch.ones_like(sample.depth),
            RAMP: ramp(*sample.depth.shape),
        }
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


def ramp(height: int, width: int) -> Tensor:
    """Depth of a road, from its rows alone: 1 / (row - 0.45 height), the sky far away."""
    rows = (torch.arange(height) + 0.5) / height - 0.45
    return (1 / rows.clamp_min(0.02))[:, None].expand(height, width)


def on_scenes(model: ProMotion, height: int, width: int) -> Figures:
    """The means over held-out scenes of one size."""
    scenes = held_out(height, width, SCENES)
    found = []
    for number in range(SCENES):
        sample = scenes[number]
        visible = ~render_scene(scenes.config, HELD_OUT + number).occlusion
        figures = measure(model, sample, two_frames=True)
        flows = {OURS: model.predict(sample.image1, sample.image2).flow}
        flows |= {name: flow(sample) for name, flow in RIVALS.items()}
        figures["median_visible"] = {
            name: float((flow - sample.flow).norm(dim=0)[visible].median())
            for name, flow in flows.items()
            if flow is not None
        }
        found.append(figures)
    return mean(found)


def on_pair(model: ProMotion, pair: RealPair, size: tuple[int, int] | None) -> Figures:
    """One real pair, or one frame, at one size."""
    sample = at_size(pair.read(), size)
    alone = torch.equal(sample.image1, sample.image2)
    figures = measure(model, sample, two_frames=not alone)
    still = model.predict(sample.image1, sample.image1).flow
    assert still is not None  # since there are two frames
    return figures | {"still": {OURS: float(still.norm(dim=0).mean())}}


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


def main() -> None:
    """Measure what is not there yet, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure every cell again")
    parser.add_argument("--weights", type=Path, default=SHIPPED, help="others than those shipped")
    parser.add_argument("--only", default="", help="cells whose names contain this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, weights = ProMotion.from_pretrained(options.weights), weights_hash(options.weights)
    for name, cell in cells(model).items():
        if options.only not in name:
            continue
        if read(CELLS / f"{name}.json").get("weights") == weights and not options.again:
            continue
        record = cell() | {
            "weights": weights,
            "torch": torch.__version__,
            "opencv": cv2.__version__,
            "threads": torch.get_num_threads(),
        }
        write(CELLS / f"{name}.json", record)
        sys.stdout.write(f"{name}: {json.dumps(record)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

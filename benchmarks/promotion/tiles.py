"""Whether tiles would serve large pictures better than views of several sizes do.

Flow of whole pictures beside that of two by two overlapping tiles, each predicted alone, blended by
weights that fall to the tiles' borders: endpoint error and processor seconds on generated scenes.
The record is benchmarks/results/promotion-flow/tiles.json.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from records import RESULTS, weights_hash, write
from torch import Tensor

from promotion import ProMotion
from promotion._pretrained import SHIPPED
from promotion.metrics import endpoint_error
from promotion.scenes import SceneConfig, render_scene
from promotion.training._evaluate import HELD_OUT

RECORD = RESULTS / "tiles.json"
FIRST = HELD_OUT + 8000
SCENES = 6
SIZE = (384, 512)
OVERLAP = 64
"""Pixels that two tiles share."""


def whole(model: ProMotion, first: Tensor, second: Tensor) -> Tensor:
    """Flow as `predict` finds it."""
    flow = model.predict(first, second).flow
    assert flow is not None
    return flow


def tiled(model: ProMotion, first: Tensor, second: Tensor) -> Tensor:
    """Flow of four tiles, blended."""
    total = torch.zeros(2, *first.shape[1:])
    weights = torch.zeros(first.shape[1:])
    for rows in spans(first.shape[1]):
        for columns in spans(first.shape[2]):
            place = (..., rows, columns)
            weight = ramp(rows)[:, None] * ramp(columns)
            total[place] += weight * whole(model, first[place], second[place])
            weights[place] += weight
    return total / weights


def spans(side: int) -> tuple[slice, slice]:
    """Two halves that overlap."""
    middle = side // 2
    return slice(0, middle + OVERLAP // 2), slice(middle - OVERLAP // 2, side)


def ramp(span: slice) -> Tensor:
    """From the borders inwards, up to 1 after the overlap."""
    count = span.stop - span.start
    place = torch.arange(count) + 0.5
    return (torch.minimum(place, count - place) / OVERLAP).clamp(max=1)


def main() -> None:
    """Measure both."""
    torch.set_num_threads(1)
    model = ProMotion.from_pretrained()
    scenes = [
        render_scene(SceneConfig(height=SIZE[0], width=SIZE[1]), FIRST + number)
        for number in range(SCENES)
    ]
    ways: dict[str, Callable[[ProMotion, Tensor, Tensor], Tensor]] = {
        "views of the whole": whole,
        "tiles": tiled,
    }
    found = {}
    for name, way in ways.items():
        errors, begin = [], time.process_time()
        for scene in scenes:
            flow = way(model, scene.image1, scene.image2)
            errors.append(float(endpoint_error(flow, scene.flow).mean()))
        seconds = (time.process_time() - begin) / SCENES
        found[name] = {"epe": statistics.fmean(errors), "seconds": seconds, "scenes": errors}
        sys.stdout.write(f"{name}: {found[name]}\n")
    record = {"weights": weights_hash(SHIPPED), "size": SIZE, "overlap": OVERLAP, "flow": found}
    write(RECORD, record)


if __name__ == "__main__":
    main()

"""The matching start on pictures larger than those trained on, plain and as this model does it.

A plain start takes the softmax over every cell of the second frame. Here it takes those of a window
and sharpens the softmax by their number. Both use the shipped weights. Each size is a file under
benchmarks/results/promotion-flow/matching, measured anew when the weights change; at the end the
curve is drawn.
"""

from __future__ import annotations

import json
import statistics
import sys
from unittest.mock import patch

import torch
import torch.nn.functional as F
from records import RESULTS, read, weights_hash, write
from samples import ROOT, held_out

from promotion import ProMotion
from promotion._pretrained import SHIPPED
from promotion.nn import STRIDE, _matching

CELLS = RESULTS / "matching"
SIZES = ((64, 96), (96, 128), (128, 192), (192, 256), (256, 384), (384, 512), (512, 768))
SCENES = 12
PLAIN, OURS, NONE = "whole picture", "window, sharpened", "no motion"


def errors(model: ProMotion, height: int, width: int) -> dict[str, float]:
    """Mean endpoint error of each start, in pixels, over the cells of some scenes."""
    found: dict[str, list[float]] = {PLAIN: [], OURS: [], NONE: []}
    match = model.flow.match
    assert match is not None
    scenes = held_out(height, width, SCENES)
    for number in range(SCENES):
        sample = scenes[number]
        features = model.extract(torch.stack([sample.image1, sample.image2])).features
        truth = F.avg_pool2d(sample.flow, STRIDE)
        starts = {OURS: match(features[:1], features[1:])[0], NONE: torch.zeros_like(truth)}
        # A limit that no logarithm reaches switches the sharpening off.
        with (
            patch.object(match, "radius", height + width),
            patch.object(_matching, "TRAINED_CELLS", 10**9),
        ):
            starts[PLAIN] = match(features[:1], features[1:])[0]
        for name, start in starts.items():
            found[name].append(float((STRIDE * start - truth).norm(dim=0).mean()))
    return {name: statistics.fmean(values) for name, values in found.items()}


def plot(records: list[dict[str, dict[str, float]]]) -> None:
    """Error as a share of the motion, against the cells of a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    cells = [height * width // STRIDE**2 for height, width in SIZES]
    for name in (PLAIN, OURS):
        shares = [record["errors"][name] / record["errors"][NONE] for record in records]
        axes.plot(cells, shares, "o-", label=name)
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set(xscale="log", xlabel="cells of a picture", ylabel="error of the start / motion")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(ROOT / "docs/figures/matching.png", dpi=110)


@torch.no_grad()
def main() -> None:
    """Measure what is not there yet with these weights, and draw."""
    torch.set_num_threads(1)
    model, weights = ProMotion.from_pretrained(), weights_hash(SHIPPED)
    records = []
    for height, width in SIZES:
        path = CELLS / f"{height}x{width}.json"
        record = read(path)
        if record.get("weights") != weights:
            record = {"errors": errors(model, height, width), "weights": weights}
            write(path, record)
        sys.stdout.write(f"{path.name}: {json.dumps(record)}\n")
        sys.stdout.flush()
        records.append(record)
    plot(records)


if __name__ == "__main__":
    main()

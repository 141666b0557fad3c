"""Fine-tuning the shipped weights on four real pairs, at 96 x 128, as `predict` sees them.

The result is a file under benchmarks/results/promotion-flow; it is measured anew when the weights
change, or with --again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace

import torch
import torch.nn.functional as F
from records import RESULTS, read, weights_hash, write
from samples import FLOW_PAIRS, at_size

from promotion import LossConfig, ProMotion, losses
from promotion._pretrained import SHIPPED
from promotion._views import resized, views
from promotion.datasets import Sample
from promotion.metrics import flow_metrics

RESULT = RESULTS / "finetune.json"
NAMES = ("flyingchairs_0000000", "flyingchairs_0000002", "middlebury_aloe", "motorcycle")
HEIGHT, WIDTH = 96, 128
STEPS, RATE = 300, 4e-4


def enlarged(sample: Sample) -> Sample:
    """A sample as the last view of `predict` shows it, its truth along with it."""
    factor = views(HEIGHT, WIDTH)[-1]
    images = [resized(image, factor) for image in (sample.image1, sample.image2)]
    times = int(factor)
    flow = times * F.interpolate(sample.flow[None], scale_factor=factor, mode="bilinear")[0]
    valid, depth, depth_valid = (
        values.repeat_interleave(times, -1).repeat_interleave(times, -2)
        for values in (sample.flow_valid, sample.depth, sample.depth_valid)
    )
    return Sample(images[0], images[1], flow, valid, depth, depth_valid)


def mean_error(model: ProMotion, samples: dict[str, Sample]) -> dict[str, float]:
    """The endpoint error of each pair, in pixels of its own."""
    found = {}
    for name, sample in samples.items():
        flow = model.predict(sample.image1, sample.image2).flow
        assert flow is not None
        found[name] = flow_metrics(flow, sample.flow, sample.flow_valid).epe
    return found


def main() -> None:
    """Fine-tune and measure, if that was not done with these weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="fine-tune again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    weights = weights_hash(SHIPPED)
    record = read(RESULT)
    if options.again or record.get("weights") != weights:
        model = ProMotion.from_pretrained()
        samples = {
            pair.name: at_size(pair.read(), (HEIGHT, WIDTH))
            for pair in FLOW_PAIRS
            if pair.name in NAMES
        }
        before = mean_error(model, samples)
        begin = time.process_time()
        train(model, Sample.stack([enlarged(sample) for sample in samples.values()]))
        seconds = time.process_time() - begin
        after = mean_error(model, samples)
        record = {
            "before": before | {"mean": statistics.fmean(before.values())},
            "after": after | {"mean": statistics.fmean(after.values())},
            "steps": STEPS,
            "cpu_seconds": round(seconds, 1),
            "weights": weights,
        }
        write(RESULT, record)
    sys.stdout.write(json.dumps(record, indent=2) + "\n")


def train(model: ProMotion, batch: Sample) -> None:
    """Take all steps on one batch, for flow alone."""
    batch = replace(batch, depth_valid=torch.zeros_like(batch.depth_valid))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.05)
    model.train()
    for _ in range(STEPS):
        output = model(batch.image1, batch.image2, tasks=("flow",))
        losses(output, batch, LossConfig()).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


if __name__ == "__main__":
    main()

"""Figures on held-out scenes, the same at every evaluation and never trained on, and on folders."""

from __future__ import annotations

from collections.abc import Collection

import torch

from promotion._model import BOTH, ProMotion, TaskName
from promotion.datasets import FolderDataset
from promotion.metrics import Alignment, Crop, DepthAccumulator, FlowAccumulator
from promotion.scenes import SceneConfig, SceneDataset

HELD_OUT = 2**62
"""Seed of the first held-out scene, beyond those of any training."""


@torch.no_grad()
def evaluate_scenes(
    model: ProMotion, scenes: SceneConfig, count: int, *, tasks: Collection[TaskName] = BOTH
) -> dict[str, float]:
    """Measure a model on held-out scenes.

    Args:
        model: It is left in the mode it was in.
        scenes: What the scenes look like; their sides are multiples of 8.
        count: How many.
        tasks: What is measured; without flow, depth is that of the first frames alone.

    Returns:
        Endpoint error and that of no motion, in pixels; Abs Rel by median alignment and that of
        the median alone.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()
    flow, still = FlowAccumulator(), FlowAccumulator()
    depth, flat = (DepthAccumulator(alignment=Alignment.MEDIAN, crop=Crop.NONE) for _ in range(2))
    dataset = SceneDataset(scenes, count=count, seed=HELD_OUT)
    for number in range(count):
        sample = dataset[number].to(device)
        output = model(sample.image1[None], sample.image2[None], tasks=tasks)
        if "flow" in tasks:
            flow.update(output.flows[-1][0], sample.flow, sample.flow_valid)
            still.update(torch.zeros_like(sample.flow), sample.flow, sample.flow_valid)
        if "depth" in tasks:
            depth.update(output.depths[-1][0], sample.depth, sample.depth_valid)
            flat.update(torch.ones_like(sample.depth), sample.depth, sample.depth_valid)
    model.train(training)
    figures: dict[str, float] = {}
    if "flow" in tasks:
        figures |= {"epe": flow.compute().epe, "epe_zero": still.compute().epe}
    if "depth" in tasks:
        figures |= {"abs_rel": depth.compute().abs_rel, "abs_rel_median": flat.compute().abs_rel}
    return figures


@torch.no_grad()
def evaluate_folder(model: ProMotion, dataset: FolderDataset, count: int) -> dict[str, float]:
    """Measure `predict` on a data set on disk.

    Args:
        model: In evaluation mode.
        dataset: Samples of any size, with flow or depth or both.
        count: How many of them at most, evenly spaced.

    Returns:
        Endpoint error in pixels, where flow is known; Abs Rel by median alignment, where depth is.
    """
    flow, depth = FlowAccumulator(), DepthAccumulator(alignment=Alignment.MEDIAN, crop=Crop.NONE)
    flows = depths = False
    count = min(count, len(dataset))
    for number in range(count):
        sample = dataset[number * len(dataset) // count]
        motion = model.predict(sample.image1, None if sample.alone else sample.image2)
        if motion.flow is not None and sample.flow_valid.any():
            flow.update(motion.flow, sample.flow, sample.flow_valid)
            flows = True
        if sample.depth_valid.any():
            depth.update(motion.depth, sample.depth, sample.depth_valid)
            depths = True
    figures: dict[str, float] = {}
    if flows:
        figures["epe"] = flow.compute().epe
    if depths:
        figures["abs_rel"] = depth.compute().abs_rel
    return figures

"""The part of docs/study.md about everything supervised: tables of what steps are worth."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence

from answers_report import figure, table
from choosing import SHAPES
from choosing import WAYS as RIVALS
from equivalent import PLANS, Plan, losses, recorded
from equivalent_ways import DENSE, FROZEN, WAYS

from tokenseek_core._instances import Instance
from tokenseek_core.inspect import Method
from tokenseek_core.inspect._operations import step_operations

COSTED = (("SmolLM2-135M", 512), ("Llama-3.1-8B", 8192))
"""Shapes and tokens that a step's operations are counted for."""

CHECKPOINTING = "dense, checkpointing, head and loss in chunks"
TITLES = {
    "shakespeare": "stories260K on Shakespeare, full tuning",
    "gsm8k": "SmolLM2-135M on GSM8K, LoRA",
}


def dense_steps(scale: Mapping[int, float], loss: float) -> float:
    """How many dense steps reach a loss, interpolated in the logarithm of the steps.

    Args:
        scale: Losses of dense trainings by their steps.
        loss: To be reached; beyond the ends of the scale, the steps at that end.
    """
    known = sorted(scale)
    for fewer, more in itertools.pairwise(known):
        if loss > scale[fewer]:
            return fewer
        if loss >= scale[more]:
            share = (scale[fewer] - loss) / (scale[fewer] - scale[more])
            return math.exp(math.log(fewer) + share * math.log(more / fewer))
    return known[-1]


def shares(task: str, way: str, steps: int) -> list[float]:
    """What a step is worth in dense ones, seed by seed, each on the scale of its seed.

    A loss above the scale is worth what its fewest steps are, or less.
    """
    found = []
    for seed, loss in losses(task, way, steps).items():
        points = {each: losses(task, DENSE, each).get(seed) for each in PLANS[task].scale}
        scale = {each: point for each, point in points.items() if point is not None}
        if len(scale) == len(points):
            found.append(dense_steps(scale, loss) / steps)
    return found


def time_shares(name: str, *, adapters: bool) -> list[float]:
    """Operations of a way's step as shares of a dense one's, for each of the shapes."""
    way = WAYS[name]
    counted = []
    for shape, length in COSTED:
        ours = operations(shape, length, Method("", way.config), adapters=adapters)
        dense = operations(shape, length, Method(""), adapters=adapters)
        if name == FROZEN:  # nothing goes back through the other blocks
            sizes = SHAPES[shape]
            back = 4 * length * sizes.block_weights + 2.5 * 4 * length**2 * sizes.width
            ours -= (sizes.layers - 1) * back
        counted.append(way.instances * ours / dense)
    return counted


def operations(shape: str, length: int, method: Method, *, adapters: bool) -> float:
    """Operations of a step over one instance whose tokens are all supervised."""
    return step_operations(SHAPES[shape], Instance(length, length), method, adapters=adapters)


def worth(task: str, plan: Plan) -> str:
    """Each way: what it reached, what a step of it is worth, and what that costs."""
    adapters = task == "gsm8k"
    rows = []
    for way in plan.ways:
        if found := shares(task, way, plan.steps):
            at_most = "at most " if min(found) <= plan.scale[0] / plan.steps else ""
            times = time_shares(way, adapters=adapters)
            rows.append(
                (
                    WAYS[way].label,
                    f"{recorded(task, way)['rate'][str(plan.steps)]:g}",
                    figure(losses(task, way, plan.steps).values()),
                    at_most + figure(found),
                    *costs(statistics.mean(found), times, at_most),
                )
            )
    checkpointing = [
        operations(shape, length, RIVALS["checkpointing, chunks"], adapters=adapters)
        / operations(shape, length, Method(""), adapters=adapters)
        for shape, length in COSTED
    ]
    rows.append((CHECKPOINTING, "dense's", "the same", "1", *costs(1, checkpointing)))
    of = [f"{what}, {shape}" for shape, _ in COSTED for what in ("time", "pay-off")]
    return table(("a step", "rate", "loss", "worth, dense steps", *of), rows)


def costs(mean: float, times: Sequence[float], at_most: str = "") -> list[str]:
    """Time of a step, and what it is worth for its time."""
    return [text for time in times for text in (f"{time:.2f}", f"{at_most}{mean / time:.2f}")]


def scale(task: str, plan: Plan) -> str:
    """Losses of dense training by its steps."""
    rows = [("loss", *(figure(losses(task, DENSE, steps).values()) for steps in plan.scale))]
    return table(("dense steps", *map(str, plan.scale)), rows)


def levers(task: str, plan: Plan) -> str:
    """What each lever changes beside the way that it starts from, on the same seeds."""
    rows = []
    for name in plan.levers:
        way = WAYS[name]
        found = losses(task, name, plan.steps)
        base = losses(task, way.like, plan.steps)
        seeds = [seed for seed in found if seed in base]
        if seeds:
            worth_now, worth_base = (shares(task, each, plan.steps) for each in (name, way.like))
            rows.append(
                (
                    WAYS[way.like].label,
                    way.label,
                    figure(found[seed] - base[seed] for seed in seeds),
                    figure(worth_now),
                    figure(worth_base[: len(worth_now)]),
                )
            )
    heads = ("of", "lever", "loss above it, seed by seed", "a step's worth", "without it")
    return table(heads, rows)


def equivalent() -> str:
    """All tables of the records."""
    parts = []
    for task, plan in PLANS.items():
        texts = [scale(task, plan), worth(task, plan), levers(task, plan)]
        if recorded(task, DENSE):
            parts.append("\n\n".join([f"### {TITLES[task]}", *filter(None, texts)]))
    return "\n\n".join(parts)

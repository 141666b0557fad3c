"""What the recorded figures must keep to; exit code 1 where one does not."""

from __future__ import annotations

import sys

from records import (
    CONSTANT,
    COST_SIZES,
    INFER_LENGTHS,
    OURS,
    PREDICT_CALLS,
    REAL_SIZES,
    RESULTS,
    RIVALS_OF_COST,
    read,
    size_name,
)
from samples import FLOW_PAIRS, SIZES
from tables import mean, recorded

DEPTH_SHARE = 0.51
"""Largest share of the constant's Abs Rel on held-out scenes."""

FINE_TUNED = 0.7
"""Largest share of the mean endpoint error of `predict` that fine-tuning leaves."""

GROWTH = 64
"""MiB that the process of four times as many frames may hold more, allocators' chance included: a
frame and what is found of it are half a one, 360 of them 200."""

LARGE = {(1080, 1920): 6, (2160, 3840): 12}
"""GiB that a process may grow by for a pair of these sizes."""

BEATEN = ("DIS", "DIS, finest", "Farneback")
"""Methods whose endpoint errors are the limits of ours."""


def above_limits() -> list[str]:
    """One line for each figure that is above its limit."""
    found: dict[str, tuple[float, float]] = {}
    for height, width in SIZES:
        name = f"scenes-{height}x{width}"
        depth = recorded(name, "abs_rel")
        found |= flow_limits(name, recorded(name, "epe"))
        found[f"Abs Rel, {name}"] = depth[OURS], DEPTH_SHARE * depth[CONSTANT]
    for size in REAL_SIZES:
        names = [f"{pair.name}-{size_name(size)}" for pair in FLOW_PAIRS]
        figures = mean([recorded(name, "epe") for name in names])
        found |= flow_limits(f"real pairs, {size_name(size)}", figures)
    for way, runs in read(RESULTS / "infer_lengths.json")["runs"].items():
        short, long = (runs[str(length)]["peak_bytes"] / 2**20 for length in INFER_LENGTHS)
        found[f"MiB of infer to {way}, longer video"] = long, short + GROWTH
    for (height, width), most in LARGE.items():
        record = read(RESULTS / "predict_costs" / f"{height}x{width}.json")
        for call in (name for name in PREDICT_CALLS[:4] if name in record):
            found[f"GiB, {call}, {height}x{width}"] = record[call]["bytes"] / 2**30, most
    tiles = read(RESULTS / "tiles.json")["flow"]
    found["endpoint error of views beside tiles"] = (
        tiles["views of the whole"]["epe"],
        tiles["tiles"]["epe"],
    )
    tuned = read(RESULTS / "finetune.json")
    found["fine-tuned pairs"] = tuned["after"]["mean"], FINE_TUNED * tuned["before"]["mean"]
    for height, width in COST_SIZES:
        seconds = read(RESULTS / "costs" / f"{height}x{width}.json")["seconds"]
        for rival in RIVALS_OF_COST:
            if rival in seconds:
                found[f"seconds, {height}x{width}, {rival}"] = seconds["tiny"], seconds[rival]
    return [
        f"{name}: {figure:.3f}, above {limit:.3f}"
        for name, (figure, limit) in found.items()
        if figure > limit
    ]


def flow_limits(name: str, figures: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Our endpoint error, and that of each method which it must not exceed."""
    return {f"{name}, {method}": (figures[OURS], figures[method]) for method in BEATEN}


if __name__ == "__main__":
    lines = above_limits()
    sys.stdout.write("\n".join(lines or ["every figure keeps to its limit"]) + "\n")
    sys.exit(1 if lines else 0)

"""Time and memory of flow by picture size, beside two implementations of RAFT's small model.

Their weights are random, which costs as much as trained ones. Times are medians over rounds in
which every model runs once, in turn; memory is what a process of its own grows by. Each size is a
file under benchmarks/results/promotion-flow/costs; those that are there are not measured again
(--again does). At the end the plot is made anew.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from records import COST_SIZES, RESULTS, RIVALS_OF_COST, read, write
from samples import ROOT
from torch import Tensor

from promotion import ProMotion
from tokenseek_common.memory import measure

CELLS = RESULTS / "costs"
ITERATIONS, ROUNDS = 12, 5
WARM_UP = 128, 128
"""Size of the pictures before memory is measured, which is known of larger ones only."""

Run = Callable[[Tensor, Tensor], object]


def ours(**options: Any) -> Run:
    """The model of the size "tiny"."""
    model = ProMotion().eval()
    return lambda first, second: model(first, second, iterations=ITERATIONS, **options)


def ours_flow() -> Run:
    """The same without depth, as the rivals have none."""
    return ours(tasks=("flow",))


def torchvision_raft() -> Run:
    """The one of torchvision."""
    from torchvision.models.optical_flow import raft_small

    model = raft_small(weights=None).eval()
    return lambda first, second: model(2 * first - 1, 2 * second - 1, num_flow_updates=ITERATIONS)


def ptlflow_raft() -> Run:
    """The one of ptlflow."""
    import ptlflow

    model = ptlflow.get_model("raft_small").eval()
    model.iters = ITERATIONS
    return lambda first, second: model({"images": torch.stack([first, second], 1)})


MODELS: dict[str, Callable[[], Run]] = {
    "tiny": ours_flow,
    "tiny, with depth": ours,
    **dict(zip(RIVALS_OF_COST, (ptlflow_raft, torchvision_raft), strict=True)),
}


def frames(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Two pictures of noise."""
    first, second = torch.rand(2, 1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return first, second


def seconds(runs: dict[str, Run], height: int, width: int) -> dict[str, float]:
    """Median processor seconds of each model that takes pictures of this size."""
    pair = frames(height, width)
    times: dict[str, list[float]] = {name: [] for name in runs if takes(name, height, width)}
    for _ in range(1 + ROUNDS):
        for name, found in times.items():
            begin = time.process_time()
            runs[name](*pair)
            found.append(time.process_time() - begin)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def takes(name: str, height: int, width: int) -> bool:
    """Whether a model takes pictures of a size; torchvision's refuses sides below 128."""
    return "torchvision" not in name or min(height, width) >= 128


def grown_bytes(name: str, height: int, width: int) -> int:
    """What a process of its own grows by in a first run at a size, after one of WARM_UP."""
    command = [sys.executable, __file__, "--grown", name, str(height), str(width)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(text.splitlines()[-1])


def print_grown(name: str, height: int, width: int) -> None:
    """The same, in that process."""
    run = MODELS[name]()
    run(*frames(*WARM_UP))
    with measure("cpu") as reading:
        run(*frames(height, width))
    sys.stdout.write(f"{reading.report.peak - reading.report.live_before}\n")


def plot(records: list[dict[str, Any]], path: Path) -> None:
    """Time and memory against the number of pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    sizes = {math.prod(record["size"]): "{} x {}".format(*record["size"]) for record in records}
    for axes, measured, unit, label in (
        (left, "seconds", 1, "seconds of one core"),
        (right, "grown_bytes", 2**20, "memory, MiB"),
    ):
        for name in MODELS:
            known = [record for record in records if name in record[measured]]
            pixels = [math.prod(record["size"]) for record in known]
            axes.plot(pixels, [record[measured][name] / unit for record in known], "o-", label=name)
        axes.set(xscale="log", yscale="log", xlabel="rows x columns", ylabel=label)
        axes.set_xticks(list(sizes), list(sizes.values()), rotation=45, ha="right")
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    left.legend()
    figure.suptitle(f"Flow of one pair, {ITERATIONS} iterations, one thread")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure every size again")
    parser.add_argument("--grown", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if options.grown:
        name, height, width = options.grown
        print_grown(name, int(height), int(width))
        return
    runs = {name: make() for name, make in MODELS.items()}
    records = []
    for height, width in COST_SIZES:
        path = CELLS / f"{height}x{width}.json"
        if options.again or not path.exists():
            found = seconds(runs, height, width)
            larger = found if height * width > math.prod(WARM_UP) else {}
            record = {
                "size": [height, width],
                "iterations": ITERATIONS,
                "threads": 1,
                "seconds": found,
                "grown_bytes": {name: grown_bytes(name, height, width) for name in larger},
                "torch": torch.__version__,
            }
            write(path, record)
        records.append(read(path))
        sys.stdout.write(f"{path.name}: {json.dumps(records[-1]['seconds'])}\n")
        sys.stdout.flush()
    plot(records, ROOT / "docs/figures/motion-costs.png")


if __name__ == "__main__":
    main()

"""Time of one view of a pair, by what runs the model: itself, compiled, or exported.

Medians of processor seconds on one thread, over rounds in which each runs once, in turn, on a
scene. Each size is a file under benchmarks/results/promotion-flow/export; those that are there are
not measured again (--again does).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from records import EXPORT_SIZES, RESULTS, read, write
from torch import Tensor

from promotion import ProMotion, export_model
from promotion.scenes import SceneConfig, render_scene

CELLS = RESULTS / "export"
ROUNDS = 7

Run = Callable[[Tensor, Tensor], Tensor]


def runs(folder: Path) -> dict[str, Run]:
    """What runs the model that the package carries, each giving its flow."""
    model = ProMotion.from_pretrained()
    compiled = torch.compile(model, dynamic=True)
    graph = torch.export.load(export_model(model, folder / "flow.pt2").path).module()
    path = export_model(model, folder / "flow.onnx", format="onnx").path
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])

    def onnx(first: Tensor, second: Tensor) -> Tensor:
        fed: dict[str, Any] = {"image1": first.numpy(), "image2": second.numpy()}
        (flow,) = session.run(["flow"], fed)
        return torch.from_numpy(flow)

    return {
        "itself": lambda first, second: model(first, second).flows[-1],
        "compiled": lambda first, second: compiled(first, second).flows[-1],
        "torch.export": lambda first, second: graph(first, second)[0],
        "onnxruntime": onnx,
    }


def measured(known: dict[str, Run], height: int, width: int) -> dict[str, Any]:
    """Seconds of each, and how far its flow is from the model's own."""
    scene = render_scene(SceneConfig(height=height, width=width), 0)
    pair = scene.image1[None], scene.image2[None]
    times: dict[str, list[float]] = {name: [] for name in known}
    flows = {}
    for _ in range(1 + ROUNDS):
        for name, run in known.items():
            begin = time.process_time()
            flows[name] = run(*pair)
            times[name].append(time.process_time() - begin)
    return {
        "size": [height, width],
        "iterations": ProMotion.from_pretrained().config.iterations,
        "threads": 1,
        "seconds": {name: statistics.median(found[1:]) for name, found in times.items()},
        "largest_difference_px": {
            name: float((flow - flows["itself"]).abs().max()) for name, flow in flows.items()
        },
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def main() -> None:
    """Measure what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure every size again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    paths = {size: CELLS / "{}x{}.json".format(*size) for size in EXPORT_SIZES}
    missing = [size for size, path in paths.items() if options.again or not path.exists()]
    if missing:
        with tempfile.TemporaryDirectory() as folder:
            known = runs(Path(folder))
            for size in missing:
                write(paths[size], measured(known, *size))
    for path in paths.values():
        sys.stdout.write(f"{path.name}: {read(path)['seconds']}\n")


if __name__ == "__main__":
    main()

"""A model as a graph that runs without this package: torch.export's ``.pt2``, or ONNX."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from promotion._model import ProMotion
from promotion.nn import STRIDE
from promotion.scenes import SceneConfig, render_scene
from tokenseek_common import InputError, RunError, replacing

ExportFormat = Literal["torch", "onnx"]
Run = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

SUFFIXES: dict[ExportFormat, str] = {"torch": ".pt2", "onnx": ".onnx"}

FLOW_TOLERANCE = 0.01
"""Pixels by which an exported model's flow of a scene may differ from the model's own."""

DEPTH_TOLERANCE = 1e-3
"""The same of its depth, as a share."""

_TRIED = ((1, 0, 4), (2, 3, 0), (3, 2, 1))
"""Pairs of each check, and cells that its pictures are higher and wider than the smallest."""

_LARGEST = 1024  # cells to a side, 8192 pixels


@dataclass(frozen=True)
class Export:
    """A model that was exported and tried.

    Args:
        path: Its file.
        smallest_side: Of the pictures that it takes, in pixels; sides are multiples of 8.
        iterations: Of its flow decoder.
        flow_difference: The largest from the model's own flow, in pixels, over the scenes tried.
        depth_difference: The same of its depth, as a share.
    """

    path: Path
    smallest_side: int
    iterations: int
    flow_difference: float
    depth_difference: float


class _Network(nn.Module):
    """What is exported: two batches of pictures in, flow and depth out."""

    def __init__(self, model: ProMotion, iterations: int) -> None:
        super().__init__()
        self.model, self.iterations = model, iterations

    def forward(
        self, image1: Float[Tensor, "b 3 h w"], image2: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b 2 h w"], Float[Tensor, "b h w"]]:
        """Flow in pixels (right, down), and depth."""
        output = self.model(image1, image2, iterations=self.iterations)
        return output.flows[-1], output.depths[-1]


@torch.no_grad()
def export_model(
    model: ProMotion,
    path: Path,
    *,
    format: ExportFormat = "torch",
    iterations: int | None = None,
) -> Export:
    """Write a model as a graph that runs without this package, and try it.

    The graph is ``model(image1, image2)``, one view of pictures at their own size: batches
    `[b, 3, h, w]` in [0, 1] whose sides are multiples of 8, of any number and size from
    `smallest_side` on; it gives flow `[b, 2, h, w]` and depth `[b, h, w]`. Its memory grows with
    the square of the pixels, since it compares all pairs of cells. What was written is loaded again
    and compared with the model on scenes of three sizes; only then the file gets its name.

    Args:
        model: The model, on the CPU.
        path: Where to write; ends in ``.pt2`` for torch, ``.onnx`` for ONNX.
        format: ``"torch"`` is read by ``torch.export.load(path).module()``; ``"onnx"``, with its
            weights inside, by any of its runtimes, and takes the extra ``[onnx]``.
        iterations: Of the flow decoder; None as configured.

    Returns:
        What it is, and how far it was from the model.

    Raises:
        InputError: The path's suffix is another, or a package is missing.
        RunError: The graph's results differ from the model's.

    Example:
        >>> export_model(ProMotion.from_pretrained(), Path("flow.pt2")).smallest_side
        64
    """
    if path.suffix != SUFFIXES[format]:
        raise InputError(f"{path} must end in {SUFFIXES[format]} for {format}; rename it")
    if format == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            _imported(package)
    network = _Network(model, iterations or model.config.iterations)
    training = model.training
    network.eval()
    try:
        program = _traced(network)
        with replacing(path) as part:
            if format == "torch":
                with part.open("wb") as file:  # by its name it would have to end in .pt2
                    torch.export.save(program, file)
                flow, depth = _differences(network, _torch_run(part))
            else:
                _write_onnx(program, part)
                flow, depth = _differences(network, _onnx_run(part))
            if flow > FLOW_TOLERANCE or depth > DEPTH_TOLERANCE:
                raise RunError(
                    f"{path} must give the model's flow within {FLOW_TOLERANCE} pixels and its "
                    f"depth within {DEPTH_TOLERANCE:.1%} ({flow:.3g} and {depth:.3%} found); "
                    "nothing was written; export with other versions of torch and onnxruntime"
                )
    finally:
        model.train(training)
    return Export(path, _smallest(model) * STRIDE, network.iterations, flow, depth)


def _smallest(model: ProMotion) -> int:
    """Cells to the shortest side: the correlation pyramid halves them, and a trace fixes a 1."""
    return int(2**model.config.levels)


def _traced(network: _Network) -> ExportedProgram:
    least = _smallest(network.model)
    batch = Dim("batch", min=1, max=1024)
    rows, columns = (Dim(name, min=least, max=_LARGEST) for name in ("rows", "columns"))
    sizes = {0: batch, 2: STRIDE * rows, 3: STRIDE * columns}
    # No two alike: a trace takes equal sizes for one.
    pair = torch.rand(2, 2, 3, STRIDE * (least + 1), STRIDE * (least + 3))
    return torch.export.export(network, (pair[0], pair[1]), dynamic_shapes=(sizes, sizes))


def _write_onnx(program: ExportedProgram, path: Path) -> None:
    with _without_advice():
        torch.onnx.export(
            program,
            (),
            path,
            dynamo=True,
            external_data=False,
            input_names=["image1", "image2"],
            output_names=["flow", "depth"],
            verbose=False,
        )


def _torch_run(path: Path) -> Run:
    with path.open("rb") as file:
        run: Run = torch.export.load(file).module()
    return run


def _onnx_run(path: Path) -> Run:
    runtime = _imported("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
        fed = {"image1": image1.numpy(), "image2": image2.numpy()}
        flow, depth = session.run(["flow", "depth"], fed)
        return torch.from_numpy(flow), torch.from_numpy(depth)

    return run


def _differences(network: _Network, run: Run) -> tuple[float, float]:
    """The largest difference of flow, in pixels, and of depth, as a share, over some scenes."""
    flows, depths = [], []
    for pairs, rows, columns in _TRIED:
        least = _smallest(network.model)
        size = SceneConfig(height=STRIDE * (least + rows), width=STRIDE * (least + columns))
        scenes = [render_scene(size, seed) for seed in range(pairs)]
        pair = [torch.stack([getattr(scene, f"image{i}") for scene in scenes]) for i in (1, 2)]
        (flow, depth), (own_flow, own_depth) = run(*pair), network(*pair)
        flows.append(float((flow - own_flow).abs().max()))
        depths.append(float((depth / own_depth - 1).abs().max()))
    return max(flows), max(depths)


def _imported(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError(
            f"format (onnx) must find the package {package}, which is absent; "
            'pip install "promotion-flow[onnx]"'
        ) from None


@contextmanager
def _without_advice() -> Iterator[None]:
    """Without what torch's exporter logs of packages that it could use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

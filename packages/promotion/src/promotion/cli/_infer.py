"""`promotion infer`: flow and depth of pictures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from jaxtyping import Float
from torch import Tensor

from promotion._model import ProMotion
from promotion._motion import Motion
from promotion._pictures import as_picture
from promotion.cli._animation import animate, every
from promotion.cli._infer_frames import Step, steps_of
from promotion.cli._infer_pictures import pictures_of
from promotion.cli._model_options import ModelOptions
from promotion.io import write_depth, write_flow
from promotion.io._files import folder_of
from promotion.viz import flow_picture, save_picture
from tokenseek_common.cli import Console, check_folder, check_positive, fresh_folder, on_unless

FLOW_SUFFIX = {"flo": ".flo", "kitti": ".png", "npz": ".npz"}


@dataclass(frozen=True)
class Found:
    """What was found in a frame, in figures; of motion None where the frame stands alone."""

    image: Path
    mean_flow: float | None
    """Pixels."""

    occluded: float | None
    """Share of the pixels that the next frame does not show; None without --confidence."""

    median_depth: float
    """In metres only where the weights were trained on metric depth."""


@dataclass(frozen=True, kw_only=True)
class Infer(ModelOptions):
    """Find flow and depth in pictures, and draw them.

    Takes one picture (depth alone), two pictures (flow from the first to the second, and depth of
    the first) or a folder of frames (flow from each to the next, in the order of their names, and
    depth of each). Files are named after the first frame: flow/a.flo, depth/a.pfm, and in pictures/
    a_flow.png, a_depth.png and so on, all on one sheet in a_overview.png. Of a folder, flow.gif
    shows all flow in one scale.
    """

    pictures: tyro.conf.Positional[tuple[Path, ...]]
    """One picture, two pictures, or a folder of frames; none takes scikit-image's Motorcycle."""

    flow: Literal["flo", "kitti", "npz", "none"] = "flo"
    """Format of the flow: Middlebury's .flo, KITTI's .png, .npz, or none written."""

    depth: Literal["pfm", "dpt", "png", "npz", "none"] = "pfm"
    """Format of the depth: .pfm, Sintel's .dpt, .png of 16 bits, .npz, or none written."""

    depth_scale: float = 256
    """Units to the metre of --depth png: 256 as KITTI, 1000 as NYU, 5000 as TUM."""

    viz: Annotated[bool, on_unless("Draw no pictures.")] = True
    """Draw pictures."""

    max_flow: float | None = None
    """Motion with full colours in the pictures, in pixels; by default each picture's longest."""

    confidence: bool = False
    """Find the motion back too, which takes as long again, and draw confidence and occlusion."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive({"depth_scale": self.depth_scale, "max_flow": self.max_flow})

    def run(self, console: Console) -> None:
        """Look at each frame, write and draw."""
        check_folder(self.output)
        steps = steps_of(self.pictures)
        model = self.load()
        folder = fresh_folder(self.output, default="promotion-infer")
        found, flows = [], []
        with console.progress("looking", total=len(steps)) as progress:
            for (path1, path2), motion in zip(steps, self._look(model, steps), strict=True):
                self._write(motion, folder, path1.stem)
                if self.viz:
                    image1 = as_picture(path1, str(path1))
                    image2 = None if path2 is None else as_picture(path2, str(path2))
                    drawn = pictures_of(motion, image1, image2, max_flow=self.max_flow)
                    for name, picture in drawn.items():
                        save_picture(folder / "pictures" / f"{path1.stem}_{name}.png", picture)
                found.append(_figures(path1, motion))
                if motion.flow is not None:
                    step = every(*motion.flow.shape[1:])
                    flows.append(motion.flow[:, ::step, ::step].clone())
                progress.advance()
        if self.viz and len(steps) > 1:
            self._animate(flows, folder / "flow.gif")
        self._tell(console, found, folder)

    def _look(self, model: ProMotion, steps: Sequence[Step]) -> Iterator[Motion]:
        if len(steps) > 1:
            frames = [path for path, _ in steps]
            yield from self.look_through(model, frames, confidence=self.confidence)
        else:
            yield self.look(model, *steps[0], confidence=self.confidence)

    def _write(self, motion: Motion, folder: Path, name: str) -> None:
        if motion.flow is not None and self.flow != "none":
            path = folder_of(folder / "flow" / f"{name}{FLOW_SUFFIX[self.flow]}")
            write_flow(path, motion.flow)
        if self.depth != "none":
            path = folder_of(folder / "depth" / f"{name}.{self.depth}")
            scale = self.depth_scale if self.depth == "png" else None
            write_depth(path, motion.depth, scale=scale)

    def _animate(self, flows: list[Float[Tensor, "2 i j"]], path: Path) -> None:
        longest = max(float(flow.norm(dim=0).max()) for flow in flows)
        scale = self.max_flow or longest or 1.0
        animate(path, [flow_picture(flow, max_norm=scale) for flow in flows])

    def _tell(self, console: Console, found: list[Found], folder: Path) -> None:
        depth = statistics.median(each.median_depth for each in found)
        told = f"median depth {depth:.3g}"
        flow, occluded = (
            _mean([getattr(each, name) for each in found]) for name in ("mean_flow", "occluded")
        )
        if occluded is not None:
            told = f"{occluded:.0%} occluded, {told}"
        if flow is not None:
            told = f"mean flow {flow:.3g} pixels, {told}"
        frames = " and ".join(map(str, self.pictures)) or "Motorcycle"
        console.print(f"{frames}: {told}; in {folder}")
        console.result(
            {
                "output": folder,
                "mean_flow": flow,
                "occluded": occluded,
                "median_depth": depth,
                "frames": found,
            }
        )


def _figures(image: Path, motion: Motion) -> Found:
    flow = None if motion.flow is None else float(motion.flow.norm(dim=0).mean())
    occluded = None if motion.occlusion is None else float(motion.occlusion.float().mean())
    return Found(image, flow, occluded, float(np.median(motion.depth.numpy())))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None

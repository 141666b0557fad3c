"""Where what `promotion infer` finds lies: in the files that were asked for, or until it is drawn.

All is drawn in one scale, which is known when all frames have been looked at. What no file holds
stands in a hidden folder until then.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from promotion._motion import Motion
from promotion.cli._animation import every
from promotion.io import read_depth, read_flow, write_depth, write_flow
from promotion.io._files import folder_of
from tokenseek_common import replacing

FlowForm = Literal["flo", "kitti", "npz", "none"]
DepthForm = Literal["pfm", "dpt", "png", "npz", "none"]
Drawn = Literal["nothing", "pictures", "video"]

FLOW_SUFFIX: dict[FlowForm, str] = {"flo": ".flo", "kitti": ".png", "npz": ".npz"}

KEPT = ".kept"
"""The hidden folder."""

VIDEO_SIDE = 960
"""Pixels of the longer side at most that a frame has in a video of the flow beside it."""


@dataclass(frozen=True)
class MotionFiles:
    """The files of a run.

    Args:
        folder: Of the run.
        flow: Format of the flow.
        depth: Format of the depth.
        scale: Units to the metre of depth in png.
        drawn: What is made of them.
    """

    folder: Path
    flow: FlowForm
    depth: DepthForm
    scale: float | None
    drawn: Drawn

    def rounded(self, motion: Motion) -> Motion:
        """What will be read again: KITTI's format has steps of 1/64 pixel."""
        if motion.flow is None or self.flow != "kitti":
            return motion
        return replace(motion, flow=(motion.flow * 64).round() / 64)

    def write(self, name: str, motion: Motion) -> None:
        """Write what was found of a frame, each file as a whole."""
        if motion.flow is not None and self.flow != "none":
            write_flow(folder_of(self._flow(name)), motion.flow)
        if self.depth != "none":
            write_depth(folder_of(self._depth(name)), motion.depth, scale=self.scale)
        if kept := self._kept(motion):
            with replacing(folder_of(self._rest(name))) as part, part.open("wb") as file:
                np.savez_compressed(file, **kept)

    def read(self, name: str) -> Motion:
        """What was found of a frame, as its files hold it."""
        found: dict[str, Any] = self._read_rest(name)
        if self.flow != "none" and self._flow(name).exists():
            found["flow"] = read_flow(self._flow(name)).flow
        if self.depth != "none":
            found["depth"] = read_depth(self._depth(name), scale=self.scale).depth
        others = ("flow", "confidence", "occlusion", "assignments")
        return Motion(depth=found["depth"], **{key: found.get(key) for key in others})

    def small_flow(self, name: str, longest: int) -> Float[Tensor, "2 i j"]:
        """Flow of a frame at every so many rows and columns, so that no side is longer."""
        written = self.flow != "none"
        flow = read_flow(self._flow(name)).flow if written else self._read_rest(name)["flow"]
        step = every(*flow.shape[1:], longest=longest)
        return flow[:, ::step, ::step]

    def forget(self) -> None:
        """Remove what only drawing needed."""
        shutil.rmtree(self.folder / KEPT, ignore_errors=True)

    def _kept(self, motion: Motion) -> dict[str, Any]:
        """What is needed to draw, and in no other file."""
        kept: dict[str, Any] = {}
        if self.drawn != "nothing" and self.flow == "none" and motion.flow is not None:
            step = every(*motion.flow.shape[1:], longest=VIDEO_SIDE) if self.drawn == "video" else 1
            kept["flow"] = motion.flow[:, ::step, ::step]
        if self.drawn == "pictures":
            kept["depth"] = motion.depth if self.depth == "none" else None
            kept |= {"confidence": motion.confidence, "occlusion": motion.occlusion}
            if motion.assignments is not None:
                kept["assignments"] = motion.assignments.to(torch.int16)  # they are few
        return {key: found.numpy() for key, found in kept.items() if found is not None}

    def _read_rest(self, name: str) -> dict[str, Tensor]:
        path = self._rest(name)
        if not path.exists():
            return {}
        with np.load(path) as stored:
            found = {key: torch.from_numpy(stored[key]) for key in stored.files}
        if "assignments" in found:
            found["assignments"] = found["assignments"].long()
        return found

    def _flow(self, name: str) -> Path:
        return self.folder / "flow" / f"{name}{FLOW_SUFFIX[self.flow]}"

    def _depth(self, name: str) -> Path:
        return self.folder / "depth" / f"{name}.{self.depth}"

    def _rest(self, name: str) -> Path:
        return self.folder / KEPT / f"{name}.npz"

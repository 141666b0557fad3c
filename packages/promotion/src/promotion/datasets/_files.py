"""The files of one sample, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from promotion.datasets._sample import Sample
from promotion.io import DepthMap, FlowMap, read_depth, read_flow, read_image
from tokenseek_common import InputError


@dataclass(frozen=True, kw_only=True)
class SampleFiles:
    """The files of one sample; truth that is None is unknown.

    Args:
        image1: First frame.
        image2: Second frame; None lets the first stand twice.
        flow: Motion from the first to the second.
        flow_normalized: Whether its file counts in widths and heights, as Virtual KITTI's does.
        flow_stride: How many of its values a pixel of the frame has in each direction, of which the
            first is taken: 2 for Spring.
        flow_visible: The same motion, known only where the second frame shows it: KITTI's
            ``flow_noc``. In place of `occlusion`.
        flow_invalid: A mask, not black where the flow is not to be trusted.
        occlusion: A mask, not black where the second frame does not show what the first does; it is
            for measuring, no part of a sample.
        disparity: In place of flow, where the second frame is the right one of a stereo pair.
        disparity_scale: Stored units to the pixel of disparity.
        depth: Of the first frame.
        depth_scale: Stored units to the metre, for a depth file that does not say.
    """

    image1: Path
    image2: Path | None = None
    flow: Path | None = None
    flow_normalized: bool = False
    flow_stride: int = 1
    flow_visible: Path | None = None
    flow_invalid: Path | None = None
    occlusion: Path | None = None
    disparity: Path | None = None
    disparity_scale: int | float = 1
    depth: Path | None = None
    depth_scale: int | float | None = None

    def read(self) -> Sample:
        """Read the files.

        Raises:
            InputError: If one is missing, damaged, or of another size than the first frame.
        """
        image1 = read_image(self.image1)
        size = image1.shape[-2:]
        image2 = image1 if self.image2 is None else read_image(self.image2)
        flow = FlowMap(torch.zeros(2, *size), torch.zeros(size, dtype=torch.bool))
        if self.flow:
            flow = self._read_flow(self.flow)
        elif self.disparity:
            flow = read_disparity(self.disparity, scale=self.disparity_scale)
        depth = DepthMap(torch.zeros(size), torch.zeros(size, dtype=torch.bool))
        if self.depth:
            depth = read_depth(self.depth, scale=self.depth_scale)
        self._check_size(self.image2, image2, image1)
        self._check_size(self.flow or self.disparity, flow.flow, image1)
        self._check_size(self.depth, depth.depth, image1)
        flow_valid = flow.valid
        if self.flow_invalid:
            flow_valid = flow_valid & ~self._read_mask(self.flow_invalid, image1)
        known_flow = flow.flow.where(flow_valid, 0)
        return Sample(image1, image2, known_flow, flow_valid, depth.depth, depth.valid)

    def read_occlusion(self) -> Bool[Tensor, "h w"] | None:
        """Which pixels the second frame does not show; None where no file tells.

        Raises:
            InputError: If the file is missing, damaged, or of another size than the first frame.
        """
        if self.flow and self.flow_visible:
            everywhere, visible = self._read_flow(self.flow), self._read_flow(self.flow_visible)
            self._check_size(self.flow_visible, visible.flow, everywhere.flow)
            return everywhere.valid & ~visible.valid
        if self.occlusion is None:
            return None
        return self._read_mask(self.occlusion, read_image(self.image1))

    def _read_flow(self, path: Path) -> FlowMap:
        flow = read_flow(path, normalized=self.flow_normalized)
        each = slice(None, None, self.flow_stride)
        return FlowMap(flow.flow[:, each, each], flow.valid[each, each])

    def _read_mask(self, path: Path, image1: Tensor) -> Bool[Tensor, "h w"]:
        """Where a picture is not black."""
        mask = read_image(path)
        self._check_size(path, mask, image1)
        return (mask > 0).any(0)

    def _check_size(self, path: Path | None, values: Tensor, image1: Tensor) -> None:
        if path and values.shape[-2:] != image1.shape[-2:]:
            (height, width), (wanted_height, wanted_width) = values.shape[-2:], image1.shape[-2:]
            raise InputError(
                f"{path} ({width} x {height}) must be as large as {self.image1} "
                f"({wanted_width} x {wanted_height}); take both from one data set"
            )


def read_disparity(path: Path, *, scale: int | float) -> FlowMap:
    """Read disparity, as flow; it is known where it is finite and above 0.

    Args:
        path: A ``.pfm`` file, or a grey ``.png`` of 8 or 16 bits.
        scale: Stored units to the pixel.
    """
    if path.suffix.lower() == ".png" and not _has_16_bits(path):
        disparity = (read_image(path)[0] * 255).round() / scale
        return flow_of_disparity(disparity, disparity > 0)
    stored = read_depth(path, scale=scale)  # the same formats and the same rule
    return flow_of_disparity(stored.depth, stored.valid)


def flow_of_disparity(disparity: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]) -> FlowMap:
    """What the right frame of a stereo pair shows of the left: each point d pixels further left."""
    known = disparity.where(valid, 0)
    return FlowMap(torch.stack([0 - known, torch.zeros_like(known)]), valid)


def _has_16_bits(path: Path) -> bool:
    read_image(path)  # tells of a file that is missing or no image
    with Image.open(path) as image:
        return image.mode.startswith("I")

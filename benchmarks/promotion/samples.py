"""What the benchmarks measure on: held-out scenes, and real pictures that are at hand."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from promotion.datasets import Sample, SampleFiles, motorcycle, resize
from promotion.scenes import SceneConfig, SceneDataset
from promotion.training._evaluate import HELD_OUT

ROOT = Path(__file__).parents[2]
MOTION = Path(os.environ.get("TOKENSEEK_DATA_DIR", ROOT.parent / "shared" / "data")) / "motion"

SIZES = ((64, 96), (96, 128), (192, 256))
"""Of held-out scenes; real pairs are measured at the last two, and as they are."""


def held_out(height: int, width: int, count: int) -> SceneDataset:
    """Scenes that depend on seed and config alone, beyond the seeds of any training."""
    config = SceneConfig(height=height, width=width, motion=0.05)
    return SceneDataset(config, count=count, seed=HELD_OUT)


@dataclass(frozen=True)
class RealPair:
    """Real pictures, read when they are asked for.

    Args:
        name: What the table calls it.
        files: None is scikit-image's Motorcycle.
        baseline: Where given, depth is this over disparity, in unknown units.
    """

    name: str
    files: SampleFiles | None
    inverse: bool = False

    def read(self) -> Sample:
        """The pictures and what is known of them."""
        if self.files is None:
            return motorcycle()
        sample = self.files.read()
        if not self.inverse:
            return sample
        disparity = -sample.flow[0]
        depth = (1 / disparity.clamp_min(1e-6)).where(sample.flow_valid, 0)
        return replace(sample, depth=50 * depth, depth_valid=sample.flow_valid)


def stereo_files(name: str, left: str, right: str, truth: str) -> SampleFiles:
    """A stereo pair of which one level of the map is one pixel of disparity."""
    folder = MOTION / name
    # An 8-bit map has no more than 255 levels, 0 where nothing is known.
    return SampleFiles(image1=folder / left, image2=folder / right, disparity=folder / truth)


FLOW_PAIRS = (
    RealPair(
        "kitti15_000000",
        SampleFiles(
            image1=MOTION / "kitti15_000000/000000_10.png",
            image2=MOTION / "kitti15_000000/000000_11.png",
            flow=MOTION / "kitti15_000000/flow_000000_10.png",
        ),
    ),
    *(
        RealPair(
            f"flyingchairs_{number}",
            SampleFiles(
                image1=MOTION / f"flyingchairs/{number}-img0.png",
                image2=MOTION / f"flyingchairs/{number}-img1.png",
                flow=MOTION / f"flyingchairs/{number}-gt.flo",
            ),
        )
        for number in ("0000000", "0000002")
    ),
    RealPair(
        "middlebury_aloe", stereo_files("middlebury_aloe", "aloeL.jpg", "aloeR.jpg", "aloeGT.png")
    ),
    RealPair(
        "middlebury_cones",
        stereo_files("middlebury_cones", "cones_left.png", "cones_right.png", "cones_gt.png"),
        inverse=True,
    ),
    RealPair("motorcycle", None),
)
"""Pairs whose flow is known."""

DEPTH_PAIRS = (
    *(
        RealPair(
            f"kitti_depth_{number}",
            SampleFiles(
                image1=MOTION / f"kitti_depth/rgb_{number}.png",
                depth=MOTION / f"kitti_depth/depth_{number}.png",
                depth_scale=256,
            ),
        )
        for number in ("0000000005", "0000000050")
    ),
    RealPair(
        "nyu_depth",
        SampleFiles(
            image1=MOTION / "nyu_depth/rgb_00000.jpg",
            depth=MOTION / "nyu_depth/depth_00000.png",
            depth_scale=1000,
        ),
    ),
    RealPair(
        "tum_pair",
        SampleFiles(
            image1=MOTION / "tum_pair/1.png",
            image2=MOTION / "tum_pair/2.png",
            depth=MOTION / "tum_pair/1_depth.png",
            depth_scale=5000,
        ),
    ),
    # Aloe's maps lack an offset of disparity, without which they are no depth.
    *(pair for pair in FLOW_PAIRS if pair.name in ("middlebury_cones", "motorcycle")),
)
"""Frames whose depth is known, up to a factor."""


def at_size(sample: Sample, size: tuple[int, int] | None) -> Sample:
    """The sample at a size; None leaves it as it is."""
    return sample if size is None else resize(sample, *size)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import kornia
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from promotion.datasets import (
    AugmentConfig,
    Augmentor,
    Sample,
    SampleFiles,
    kitti_2015,
    resize,
    rgbd,
    stereo,
)
from real_data import DATA, needs

MOTION = DATA / "motion"
pytestmark = [pytest.mark.real, needs("motion")]


def linked(folder: Path, names: dict[str, Path]) -> Path:
    """A folder in which the files have these names."""
    for name, path in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(path)
    return folder


def kitti(folder: Path) -> Sample:
    pair = MOTION / "kitti15_000000"
    names = {
        "image_2/000000_10.png": pair / "000000_10.png",
        "image_2/000000_11.png": pair / "000000_11.png",
        "flow_occ/000000_10.png": pair / "flow_000000_10.png",
    }
    return kitti_2015(linked(folder, names))[0]


def match_error(sample: Sample, flow: Float[Tensor, "2 h w"]) -> float:
    """How far the second frame, looked up through the known flow, is from the first."""
    height, width = flow.shape[1:]
    x, y = torch.arange(width) + flow[0], torch.arange(height)[:, None] + flow[1]
    warped = kornia.geometry.remap(sample.image2[None], x[None], y[None], align_corners=True)[0]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    difference = (warped - sample.image1).abs().mean(0)
    return float(difference[inside & sample.flow_valid].median())


def test_kitti_flow_matches_its_frames_at_every_size(tmp_path: Path) -> None:
    sample = kitti(tmp_path)
    assert sample.flow_valid.float().mean() == pytest.approx(0.16, abs=0.01)
    for height, width in ((375, 1242), (188, 621), (94, 310)):
        small = resize(sample, height, width)
        assert match_error(small, small.flow) < 0.7 * match_error(small, 0 * small.flow)
        longest = small.flow[0].abs().max() * 1242 / width
        assert longest == pytest.approx(float(sample.flow[0].abs().max()), rel=0.03)


def test_kitti_flow_matches_its_frames_when_varied(tmp_path: Path) -> None:
    sample = kitti(tmp_path)
    before = match_error(sample, sample.flow)
    augment = Augmentor(replace(AugmentConfig.sparse(), occlude=0.0))
    for seed in range(3):
        varied = augment(sample, 288, 960, torch.Generator().manual_seed(seed))
        assert varied.flow_valid.float().mean() > 0.05
        assert match_error(varied, varied.flow) < 0.9 * match_error(varied, 0 * varied.flow)
        assert match_error(varied, varied.flow) < 1.3 * before


@pytest.mark.parametrize(
    ("name", "left", "right", "disparity", "scale"),
    [
        ("middlebury_aloe", "*L.jpg", "*R.jpg", "*GT.png", 1),
        ("middlebury_cones", "*_left.png", "*_right.png", "*_gt.png", 1),
    ],
)
def test_disparity_matches_the_frames_of_a_stereo_pair(
    name: str, left: str, right: str, disparity: str, scale: int
) -> None:
    pairs = stereo(MOTION / name, left=left, right=right, disparity=disparity, scale=scale)
    sample = resize(pairs[0], 192, 256)
    assert match_error(sample, sample.flow) < 0.5 * match_error(sample, 0 * sample.flow)


def test_frames_of_depth_cameras_have_depth_in_metres() -> None:
    rooms = rgbd(
        MOTION / "sevenscenes",
        image="frame-*.color.jpg",
        depth="frame-*.depth.png",
        scale=1000,
        step=1,
    )
    assert len(rooms) == 6
    kitchen = SampleFiles(
        image1=MOTION / "nyu_depth" / "rgb_00000.jpg",
        depth=MOTION / "nyu_depth" / "depth_00000.png",
        depth_scale=1000,
    ).read()
    for sample, farthest in ((rooms[0], 6.0), (rooms[5], 6.0), (kitchen, 10.0)):
        known = sample.depth[sample.depth_valid]
        assert len(known) > 0.5 * sample.depth.numel()
        assert 0.3 < known.min() < known.max() < farthest

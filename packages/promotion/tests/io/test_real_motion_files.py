"""Published files read to plausible values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from promotion.io import read_depth, read_flow, read_image, write_flow
from real_data import DATA, needs

MOTION = DATA / "motion"
pytestmark = [pytest.mark.real, needs("motion")]


@pytest.mark.parametrize("name", ["0000000", "0000002"])
def test_flying_chairs_is_known_everywhere(name: str) -> None:
    found = read_flow(MOTION / "flyingchairs" / f"{name}-gt.flo")
    assert found.flow.shape == (2, 384, 512)
    assert found.valid.all()
    assert 1 < found.flow.norm(dim=0).mean() < 50
    assert found.flow.abs().max() < 512


def test_kitti_flow_is_sparse_and_explains_the_second_image() -> None:
    folder = MOTION / "kitti15_000000"
    found = read_flow(folder / "flow_000000_10.png")
    assert found.flow.shape == (2, 375, 1242)
    assert found.valid.float().mean() == pytest.approx(0.16, abs=0.01)
    assert 150 < found.flow.abs().max() < 200
    first, second = (read_image(folder / f"000000_{n}.png") for n in (10, 11))
    rows, columns = found.valid.nonzero().T
    u, v = found.flow[:, rows, columns].round().long()
    inside = (columns + u >= 0) & (columns + u < 1242) & (rows + v >= 0) & (rows + v < 375)
    rows, columns, u, v = (x[inside] for x in (rows, columns, u, v))
    moved = (second[:, rows + v, columns + u] - first[:, rows, columns]).abs().mean()
    still = (second[:, rows, columns] - first[:, rows, columns]).abs().mean()
    assert moved < 0.6 * still


def test_kitti_flow_comes_back_from_a_png_bit_by_bit(tmp_path: Path) -> None:
    found = read_flow(MOTION / "kitti15_000000" / "flow_000000_10.png")
    write_flow(tmp_path / "flow.png", found.flow, found.valid)
    again = read_flow(tmp_path / "flow.png")
    assert torch.equal(again.flow, found.flow)
    assert torch.equal(again.valid, found.valid)


@pytest.mark.parametrize(
    ("name", "scale", "size", "nearest", "farthest", "known"),
    [
        ("kitti_depth/depth_0000000005.png", 256, (375, 1242), 3, 90, (0.1, 0.3)),
        ("nyu_depth/depth_00000.png", 1000, (480, 640), 0.5, 10, (0.7, 1.0)),
        ("tum_pair/1_depth.png", 5000, (480, 640), 0.4, 10, (0.5, 1.0)),
        ("sevenscenes/frame-000000.depth.png", 1000, (480, 640), 0.3, 10, (0.5, 1.0)),
    ],
)
def test_depth_is_of_a_street_or_a_room(
    name: str,
    scale: float,
    size: tuple[int, int],
    nearest: float,
    farthest: float,
    known: tuple[float, float],
) -> None:
    found = read_depth(MOTION / name, scale=scale)
    assert found.depth.shape == size
    assert known[0] <= found.valid.float().mean() <= known[1]
    assert nearest < found.depth[found.valid].min()
    assert found.depth.max() < farthest
    assert not found.depth[~found.valid].any()


def test_a_ppm_is_the_same_image_as_its_png() -> None:
    folder = MOTION / "flyingchairs"
    ppm, png = (read_image(folder / f"0000000-img0.{suffix}") for suffix in ("ppm", "png"))
    assert ppm.shape == (3, 384, 512)
    assert torch.equal(ppm, png)


@pytest.mark.parametrize("name", ["middlebury_aloe/aloeL.jpg", "nyu_depth/rgb_00000.jpg"])
def test_photographs_fill_the_range(name: str) -> None:
    image = read_image(MOTION / name)
    assert 0 <= image.min() < 0.1
    assert 0.9 < image.max() <= 1

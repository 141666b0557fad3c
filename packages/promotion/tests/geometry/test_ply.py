from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from promotion.geometry import write_ply
from tokenseek_common import InputError


def test_a_cloud_is_written_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "cloud.ply"
    points = torch.tensor([[1.0, 4], [2, 5], [3, 6]])
    colours = torch.tensor([[0.0, 1], [0.5, 0], [1, 0]])
    write_ply(path, points, colours, motion=-points)
    header, _, body = path.read_bytes().partition(b"end_header\n")
    assert header.decode().splitlines() == [
        "ply",
        "format binary_little_endian 1.0",
        "element vertex 2",
        *(f"property float {name}" for name in ("x", "y", "z", "vx", "vy", "vz")),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
    ]
    rows = np.frombuffer(body, np.dtype([("numbers", "<f4", 6), ("colour", "u1", 3)]))
    assert rows["numbers"].tolist() == [[1, 2, 3, -1, -2, -3], [4, 5, 6, -4, -5, -6]]
    assert rows["colour"].tolist() == [[0, 128, 255], [255, 0, 0]]
    write_ply(path, points, colours)
    assert b"vx" not in path.read_bytes()


@pytest.mark.parametrize(
    ("name", "scale", "count", "said"),
    [
        ("a.obj", 1, 4, "a.obj must end in .ply; rename it"),
        ("a.ply", 1, 2, "colours (2) must be as many as points (4); take all of one frame"),
        ("a.ply", float("inf"), 4, "points must be finite; leave out what is not known"),
    ],
)
def test_clouds_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, scale: float, count: int, said: str
) -> None:
    points = 1 + torch.rand(3, 4)
    with pytest.raises(InputError) as caught:
        write_ply(tmp_path / name, scale * points, points[:, :count])
    assert str(caught.value).endswith(said)
    assert not list(tmp_path.iterdir())

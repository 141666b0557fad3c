"""Small data sets in the layouts of well-known ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from promotion.datasets import FolderDataset
from promotion.io import write_depth, write_flow, write_image
from tokenseek_common import InputError

HEIGHT, WIDTH = 6, 8


def grey(level: int) -> torch.Tensor:
    """A frame that can be told from others."""
    return torch.full((3, HEIGHT, WIDTH), level, dtype=torch.uint8)


def level_of(image: torch.Tensor) -> int:
    return round(float(image.mean()) * 255)


def levels(dataset: FolderDataset) -> list[tuple[int, int]]:
    """What tells the frames of each sample from others."""
    samples = (dataset[index] for index in range(len(dataset)))
    return [(level_of(sample.image1), level_of(sample.image2)) for sample in samples]


def write_frame(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, grey(level))


def write_motion(path: Path, length: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flow(path, torch.full((2, HEIGHT, WIDTH), float(length)))


def write_distance(path: Path, metres: float, *, scale: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_depth(path, torch.full((HEIGHT, WIDTH), metres), scale=scale)


def refusal(opened: Callable[[], object]) -> str:
    """What opening a folder is refused with."""
    with pytest.raises(InputError) as caught:
        opened()
    return str(caught.value)


def chairs(folder: Path, count: int = 2, suffix: str = "ppm") -> None:
    for number in range(count):
        write_frame(folder / f"{number:05d}_img1.{suffix}", 10 * number)
        write_frame(folder / f"{number:05d}_img2.{suffix}", 10 * number + 1)
        write_motion(folder / f"{number:05d}_flow.flo", number + 0.5)


def sintel_tree(folder: Path) -> None:
    for scene, start in (("alley_1", 0), ("market_2", 100)):
        for frame in (1, 2, 3):
            write_frame(folder / "clean" / scene / f"frame_{frame:04d}.png", start + frame)
            write_frame(folder / "final" / scene / f"frame_{frame:04d}.png", start + 50 + frame)
        for frame in (1, 2):
            write_motion(folder / "flow" / scene / f"frame_{frame:04d}.flo", start + frame)


def kitti_tree(folder: Path) -> None:
    for number in range(2):
        write_frame(folder / "image_2" / f"{number:06d}_10.png", number)
        write_frame(folder / "image_2" / f"{number:06d}_11.png", 10 + number)
        valid = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        valid[1, 2 + number] = True
        for name, length in (("flow_occ", 4.0), ("flow_noc", 2.0)):
            (folder / name).mkdir(exist_ok=True, parents=True)
            flow = torch.full((2, HEIGHT, WIDTH), length)
            write_flow(folder / name / f"{number:06d}_10.png", flow, valid)


def tum_tree(folder: Path) -> None:
    for time in ("10.00", "10.10", "10.50"):
        write_frame(folder / "rgb" / f"{time}.png", int(float(time) * 10))
    for time in ("9.99", "10.12", "10.80"):
        write_distance(folder / "depth" / f"{time}.png", float(time) - 9, scale=5000)

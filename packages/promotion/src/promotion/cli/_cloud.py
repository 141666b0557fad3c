"""`promotion cloud`: the points that a picture shows, in space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from promotion._pictures import as_picture
from promotion.cli._frames import check_sizes
from promotion.cli._model_options import ModelOptions
from promotion.geometry import pinhole, point_cloud, scene_flow, write_ply
from tokenseek_common import InputError
from tokenseek_common.cli import Console, check_folder, check_positive, fresh_folder

USUAL_FOCAL = 0.9
"""Focal length as a share of the width, of a camera that nobody tells about: 58 degrees wide."""


@dataclass(frozen=True, kw_only=True)
class Cloud(ModelOptions):
    """Write what a picture shows as a cloud of coloured points in space.

    Takes one picture, or two: then each point has its motion to the second as vx, vy and vz. The
    cloud is cloud.ply, x to the right, y down, z ahead. Depth is relative with the weights that
    come with the package, so shapes hold up to one factor, and so do motions.
    """

    pictures: tyro.conf.Positional[tuple[Path, ...]]
    """One picture, or two."""

    focal: float | None = None
    """Focal length in pixels; by default 0.9 of the width."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive({"focal": self.focal})

    def run(self, console: Console) -> None:
        """Find depth, lift and write."""
        check_folder(self.output)
        if len(self.pictures) not in (1, 2):
            raise InputError(f"pictures ({len(self.pictures)} given) must be one or two; name them")
        check_sizes(self.pictures)
        images = [as_picture(path, str(path)) for path in self.pictures]
        height, width = images[0].shape[1:]
        intrinsics = pinhole(self.focal or USUAL_FOCAL * width, height, width)
        model = self.load()
        second = images[1] if len(images) > 1 else None
        found = self.look(model, images[0], second)
        moved: dict[str, Any] = {}
        if second is not None:
            assert found.flow is not None  # since there are two pictures
            back = self.look(model, second, images[0])
            motion = scene_flow(found.depth, back.depth, found.flow, intrinsics)
            moved = {"motion": motion.flatten(1)}
        folder = fresh_folder(self.output, default="promotion-cloud")
        points = point_cloud(found.depth, intrinsics).flatten(1)
        write_ply(folder / "cloud.ply", points, images[0].flatten(1).cpu(), **moved)
        console.print(
            f"{height * width} points of {self.pictures[0]} are in {folder / 'cloud.ply'}"
        )
        console.result({"output": folder, "points": height * width, "moved": bool(moved)})

"""`promotion track`: points followed through the frames of a folder or a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from promotion.cli._frames import Frames, frames_of, written
from promotion.cli._model_options import ModelOptions
from promotion.video import Tracks, track
from promotion.viz import track_overlay
from tokenseek_common import InputError, replacing
from tokenseek_common.cli import Console, check_counts, check_folder, fresh_folder, on_unless


@dataclass(frozen=True, kw_only=True)
class Track(ModelOptions):
    """Follow points through a folder of frames or a video.

    Points are followed by flow from each frame to the next, and are lost where they leave the
    frame or where the flow there and back do not agree. tracks.npz holds positions [t, n, 2], (x,
    y) in pixels, and visible [t, n]; pictures/ has each frame with the tracks that lead to it, or
    tracks.mp4 those of a video.
    """

    frames: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FOLDER|VIDEO")]]
    """A folder of frames, taken in the order of their names, or a video (extra [video])."""

    spacing: int = 32
    """Pixels between the points of a grid over the first frame."""

    points: tuple[str, ...] = ()
    """Points in place of the grid, each as X,Y in pixels of the first frame."""

    tail: int = 12
    """Frames that the drawn tracks go back."""

    viz: Annotated[bool, on_unless("Draw no pictures.")] = True
    """Draw pictures."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"spacing": self.spacing, "tail": self.tail})

    def run(self, console: Console) -> None:
        """Follow, write and draw."""
        check_folder(self.output)
        given = [_point(text) for text in self.points]
        frames = frames_of(self.frames)
        points = torch.tensor(given) if given else self._grid(next(iter(frames)))
        model = self.load()
        with console.progress("following", total=len(frames)) as progress, self.precision():
            tracks = track(model, frames.shown(progress), points, iterations=self.iterations)
        folder = fresh_folder(self.output, default="promotion-track")
        with replacing(folder / "tracks.npz") as part, part.open("wb") as file:
            np.savez(file, positions=tracks.positions.numpy(), visible=tracks.visible.numpy())
        if self.viz:
            self._draw(console, frames, tracks, folder)
        kept = float(tracks.visible[-1].float().mean())
        console.print(
            f"{len(points)} points through {len(frames)} frames of {self.frames}: {kept:.0%} are "
            f"still seen in the last; in {folder}"
        )
        console.result(
            {"output": folder, "points": len(points), "frames": len(frames), "kept": kept}
        )

    def _grid(self, first: Float[Tensor, "3 h w"]) -> Float[Tensor, "n 2"]:
        """Points in the middle of squares of the spacing."""
        y, x = (
            torch.arange(min(self.spacing, side) // 2, side, self.spacing)
            for side in first.shape[-2:]
        )
        return torch.cartesian_prod(y, x).flip(1).float()

    def _draw(self, console: Console, frames: Frames, tracks: Tracks, folder: Path) -> None:
        with (
            console.progress("drawing", total=len(frames)) as progress,
            written(folder / "pictures", folder / "tracks.mp4", fps=frames.fps) as write,
        ):
            for number, image in enumerate(frames.shown(progress)):
                past = slice(max(0, number - self.tail), number + 1)
                drawn = track_overlay(image, tracks.positions[past], tracks.visible[past])
                write(frames.names[number], drawn)


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(number) for number in text.split(","))
    except ValueError:
        raise InputError(
            f"points ({text}) must be two numbers, as in 120,80; write X,Y without a blank"
        ) from None
    return x, y

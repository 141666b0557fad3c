"""`promotion stabilize`: frames as a steady camera would have taken them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from promotion.cli._frames import frames_of, written
from promotion.cli._model_options import ModelOptions
from promotion.video import stabilize
from promotion.viz._pillow import to_bytes
from tokenseek_common.cli import Console, check_counts, check_folder, fresh_folder


@dataclass(frozen=True, kw_only=True)
class Stabilize(ModelOptions):
    """Show a folder of frames or a video as a steady camera would have taken them.

    The camera's motion is taken for homographies, as it is where a camera turns or looks at
    something far or flat, and its path is smoothed. Frames keep their names, as .png, and those of
    a video become steady.mp4; what no frame shows is filled with the colours of the border.
    """

    frames: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FOLDER|VIDEO")]]
    """A folder of frames, taken in the order of their names, or a video (extra [video])."""

    radius: int = 15
    """Frames to each side that the path is smoothed over."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"radius": self.radius})

    def run(self, console: Console) -> None:
        """Find the path, and write each frame along the smooth one."""
        check_folder(self.output)
        frames = frames_of(self.frames)
        model = self.load()
        folder = fresh_folder(self.output, default="promotion-stabilize")
        with (
            console.progress("writing", total=len(frames)) as progress,
            written(folder, folder / "steady.mp4", fps=frames.fps) as write,
            self.precision(),
        ):
            steady = stabilize(model, frames, radius=self.radius, iterations=self.iterations)
            for name, image in zip(frames.names, steady, strict=True):
                write(name, to_bytes(image))
                progress.advance()
        console.print(f"{len(frames)} frames of {self.frames} are steady in {folder}")
        console.result({"output": folder, "frames": len(frames)})

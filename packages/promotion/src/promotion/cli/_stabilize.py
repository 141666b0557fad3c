"""`promotion stabilize`: frames as a steady camera would have taken them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from promotion.cli._frames import folder_frames
from promotion.cli._model_options import ModelOptions
from promotion.io import write_image
from promotion.video import stabilize
from tokenseek_common.cli import Console, check_counts, check_folder, fresh_folder


@dataclass(frozen=True, kw_only=True)
class Stabilize(ModelOptions):
    """Show frames as a steady camera would have taken them.

    The camera's motion is taken for homographies, as it is where a camera turns or looks at
    something far or flat, and its path is smoothed. Frames keep their names, as .png; what no frame
    shows is filled with the colours of the border.
    """

    frames: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FOLDER")]]
    """A folder of frames, taken in the order of their names."""

    radius: int = 15
    """Frames to each side that the path is smoothed over."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"radius": self.radius})

    def run(self, console: Console) -> None:
        """Find the path, and write each frame along the smooth one."""
        check_folder(self.output)
        frames = folder_frames(self.frames)
        model = self.load()
        folder = fresh_folder(self.output, default="promotion-stabilize")
        with console.progress("writing", total=len(frames)) as progress, self.precision():
            steady = stabilize(model, frames, radius=self.radius, iterations=self.iterations)
            for path, image in zip(frames, steady, strict=True):
                write_image(folder / f"{path.stem}.png", image)
                progress.advance()
        console.print(f"{len(frames)} frames of {self.frames} are steady in {folder}")
        console.result({"output": folder, "frames": len(frames)})

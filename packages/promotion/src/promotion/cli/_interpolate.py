"""`promotion interpolate`: frames between two frames, or between all frames of a folder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import tyro

from promotion._pictures import as_picture
from promotion.cli._frames import folder_frames
from promotion.cli._infer_frames import check_sizes
from promotion.cli._model_options import ModelOptions
from promotion.io import write_image
from promotion.video import interpolate
from tokenseek_common import InputError
from tokenseek_common.cli import Console, check_counts, check_folder, fresh_folder


@dataclass(frozen=True, kw_only=True)
class Interpolate(ModelOptions):
    """Make frames between two frames, or between all frames of a folder.

    Writes the given frames and those between them as 000000.png, 000001.png and so on.
    """

    pictures: tyro.conf.Positional[tuple[Path, ...]]
    """Two pictures, or a folder of frames."""

    between: int = 1
    """Frames to make between two, evenly spaced in time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"between": self.between})

    def run(self, console: Console) -> None:
        """Make the frames, and write each when it is there."""
        check_folder(self.output)
        frames = self._frames()
        model = self.load()
        folder = fresh_folder(self.output, default="promotion-interpolate")
        times = [step / (self.between + 1) for step in range(1, self.between + 1)]
        number = 0
        with console.progress("making", total=len(frames) - 1) as progress, self.precision():
            for path1, path2 in pairwise(frames):
                first, second = (as_picture(path, str(path)) for path in (path1, path2))
                made = interpolate(model, first, second, times, iterations=self.iterations)
                for image in (first, *made):
                    write_image(folder / f"{number:06d}.png", image.clamp(0, 1))
                    number += 1
                progress.advance()
            write_image(folder / f"{number:06d}.png", second)
        count = number + 1
        console.print(f"{len(frames)} frames are {count} now, in {folder}")
        console.result({"output": folder, "given": len(frames), "frames": count})

    def _frames(self) -> list[Path]:
        if len(self.pictures) == 1:
            return folder_frames(self.pictures[0])
        if len(self.pictures) != 2:
            raise InputError(
                f"pictures ({len(self.pictures)} given) must be two, or a folder of frames; "
                "put longer sequences into a folder"
            )
        check_sizes(self.pictures)
        return list(self.pictures)

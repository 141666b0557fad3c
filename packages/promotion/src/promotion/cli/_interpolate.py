"""`promotion interpolate`: frames between two frames, or between all of a folder or a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from promotion.cli._frames import Frames, check_sizes, frames_of, written
from promotion.cli._model_options import ModelOptions
from promotion.video import interpolate_frames
from promotion.viz._pillow import to_bytes
from tokenseek_common import InputError
from tokenseek_common.cli import Console, check_counts, check_folder, fresh_folder


@dataclass(frozen=True, kw_only=True)
class Interpolate(ModelOptions):
    """Make frames between two frames, or between all of a folder or a video.

    Writes the given frames and those between them as 000000.png, 000001.png and so on, or those of
    a video as interpolated.mp4, of as many times the frames a second.
    """

    pictures: tyro.conf.Positional[tuple[Path, ...]]
    """Two pictures, a folder of frames, or a video (extra [video])."""

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
        parts = self.between + 1
        fps = None if frames.fps is None else parts * frames.fps
        count = 0
        with (
            console.progress("making", total=len(frames)) as progress,
            written(folder, folder / "interpolated.mp4", fps=fps) as write,
            self.precision(),
        ):
            times = [step / parts for step in range(1, parts)]
            shown = frames.shown(progress)
            for image in interpolate_frames(model, shown, times, iterations=self.iterations):
                write(f"{count:06d}", to_bytes(image))
                count += 1
        console.print(f"{len(frames)} frames are {count} now, in {folder}")
        console.result({"output": folder, "given": len(frames), "frames": count})

    def _frames(self) -> Frames:
        if len(self.pictures) == 1:
            return frames_of(self.pictures[0])
        if len(self.pictures) != 2:
            raise InputError(
                f"pictures ({len(self.pictures)} given) must be two, a folder of frames or a "
                "video; put longer sequences into a folder"
            )
        check_sizes(self.pictures)
        return Frames(self.pictures, [path.stem for path in self.pictures], None)

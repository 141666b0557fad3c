"""`promotion infer`: flow and depth of pictures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from promotion._model import ProMotion
from promotion._motion import Motion
from promotion._pictures import Picture
from promotion.cli._animation import FPS
from promotion.cli._frames import Frames
from promotion.cli._infer_drawing import draw_pictures, draw_video
from promotion.cli._infer_frames import sought
from promotion.cli._infer_pictures import Scale
from promotion.cli._infer_run import Found, InferRun, check_run, figures_of, open_run
from promotion.cli._model_options import ModelOptions
from promotion.cli._motion_files import DepthForm, Drawn, FlowForm, MotionFiles
from promotion.io import VideoWriter
from tokenseek_common import InputError
from tokenseek_common.cli import Console, check_positive, on_unless


@dataclass(frozen=True, kw_only=True)
class Infer(ModelOptions):
    """Find flow and depth in pictures, and draw them.

    Takes one picture (depth alone), two pictures (flow from the first to the second, and depth of
    the first), a folder of frames or a video (flow from each frame to the next, and depth of each).
    Files are named after the first frame: flow/a.flo, depth/a.pfm, and in pictures/ a_flow.png,
    a_depth.png and so on, all on one sheet in a_overview.png; all frames are drawn in one scale. Of
    a folder, flow.gif shows the flow, of a hundred frames at most. A video becomes flow.mp4, its
    frames with the flow beside them. Memory does not grow with the number of frames; a run that was
    interrupted goes on with --resume.
    """

    pictures: tyro.conf.Positional[tuple[Path, ...]]
    """One picture, two pictures, a folder of frames, or a video (extra [video]); none takes
    scikit-image's Motorcycle."""

    flow: Literal["auto", "flo", "kitti", "npz", "none"] = "auto"
    """Format of the flow: Middlebury's .flo, KITTI's .png, .npz, or none written; auto is .flo, and
    none of a video."""

    depth: Literal["auto", "pfm", "dpt", "png", "npz", "none"] = "auto"
    """Format of the depth: .pfm, Sintel's .dpt, .png of 16 bits, .npz, or none written; auto is
    .pfm, and none of a video."""

    depth_scale: float = 256
    """Units to the metre of --depth png: 256 as KITTI, 1000 as NYU, 5000 as TUM."""

    viz: Annotated[bool, on_unless("Draw nothing.")] = True
    """Draw what was found."""

    draw: Literal["auto", "pictures", "video"] = "auto"
    """Draw pictures, or a video of the frames with the flow beside them (extra [video]); auto makes
    a video of a video."""

    max_flow: float | None = None
    """Motion with full colours, in pixels; by default the longest of all frames."""

    fps: float | None = None
    """Frames a second of the video; by default those of the given one, or 8."""

    confidence: bool = False
    """Find the motion back too, which takes as long again, and draw confidence and occlusion."""

    resume: bool = False
    """Go on with the interrupted run in --output; what was found stays."""

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = {"depth_scale": self.depth_scale, "max_flow": self.max_flow, "fps": self.fps}
        check_positive(numbers)

    def run(self, console: Console) -> None:
        """Look at each frame and write; then draw."""
        frames = sought(self.pictures)
        settings = self._settings(frames)
        check_run(self.output, settings, resume=self.resume)
        files = self._files(frames, Path())
        if files.drawn == "video":
            self._check_video(frames)
        model = self.load()
        run = open_run(self.output, settings, resume=self.resume)
        files = replace(files, folder=run.folder)
        results = len(frames) if self._sequence(frames) else 1
        try:
            self._find(console, model, frames, run, files)
            if files.drawn != "nothing":
                self._draw(console, frames, files, run.found)
        except KeyboardInterrupt:
            hint = f"; --resume -o {run.folder} goes on with it" if results > 1 else ""
            raise KeyboardInterrupt(f"interrupted{hint}") from None
        files.forget()
        self._tell(console, run)

    def _settings(self, frames: Frames) -> dict[str, Any]:
        """What a resumed run must have in common with the one that began."""
        given = asdict(self)
        free = ("device", "json", "quiet", "debug", "seed", "output", "resume", "fps")
        settings = {key: value for key, value in given.items() if key not in free}
        settings["pictures"] = [str(path) for path in self.pictures]
        return settings | {"frames": len(frames), "size": _size(frames)}

    def _sequence(self, frames: Frames) -> bool:
        """Whether the last frame has a result of its own."""
        return len(self.pictures) == 1 and len(frames) > 1

    def _files(self, frames: Frames, folder: Path) -> MotionFiles:
        video = frames.fps is not None
        flow: FlowForm = self.flow if self.flow != "auto" else "none" if video else "flo"
        depth: DepthForm = self.depth if self.depth != "auto" else "none" if video else "pfm"
        drawn: Drawn = self.draw if self.draw != "auto" else "video" if video else "pictures"
        scale = self.depth_scale if depth == "png" else None
        return MotionFiles(folder, flow, depth, scale, drawn if self.viz else "nothing")

    def _check_video(self, frames: Frames) -> None:
        if len(frames) < 2:
            raise InputError("draw (video) must be of two frames at least; choose --draw pictures")
        VideoWriter(Path("flow.mp4"), fps=self._fps(frames))  # refuses where it cannot write

    def _fps(self, frames: Frames) -> float:
        return self.fps or frames.fps or FPS

    def _find(
        self, console: Console, model: ProMotion, frames: Frames, run: InferRun, files: MotionFiles
    ) -> None:
        """Look at the frames that were not looked at, and write what is found."""
        done = len(run.found)
        total = len(frames) if self._sequence(frames) else 1
        with console.progress("looking", total=total) as progress:
            if done:
                progress.advance(done)
            names = frames.names[done:total]
            images = frames.images[done:total]
            motions = self._look(model, frames, done) if names else iter(())
            for name, image, motion in zip(names, images, motions, strict=True):
                found = files.rounded(motion)
                files.write(name, found)
                run.add(figures_of(image, found))
                progress.advance()

    def _look(self, model: ProMotion, frames: Frames, done: int) -> Iterator[Motion]:
        """The motion of each frame from one on."""
        if not self._sequence(frames):
            first, second = chain(islice(frames, 2), [None] * (2 - len(frames)))
            assert first is not None  # there is a frame at least
            yield self.look(model, first, second, confidence=self.confidence)
            return
        rest: Iterator[Picture] = islice(frames, max(0, done - 1), None)
        if done == len(frames) - 1:  # the last is left, with the one before it as its partner
            before, last = rest
            alone = self.look(model, last, before)
            yield replace(alone, flow=None)
            return
        if done:
            next(rest)
        yield from self.look_through(model, rest, confidence=self.confidence)

    def _draw(
        self, console: Console, frames: Frames, files: MotionFiles, found: list[Found]
    ) -> None:
        """Draw all in one scale."""
        near, far = min(each.nearest for each in found), max(each.farthest for each in found)
        longest = max((each.longest_flow or 0 for each in found), default=0)
        scale = Scale(self.max_flow or longest or 1.0, near, max(far, 1.1 * near))
        video = files.drawn == "video"
        total = len(frames) - 1 if video else len(found)
        with console.progress("drawing", total=total) as progress:
            if video:
                draw_video(frames, files, scale, fps=self._fps(frames), progress=progress)
            else:
                draw_pictures(frames, files, len(found), scale, progress)

    def _tell(self, console: Console, run: InferRun) -> None:
        found = run.found
        depth = statistics.median(each.median_depth for each in found)
        told = f"median depth {depth:.3g}"
        flow, occluded = (
            _mean([getattr(each, name) for each in found]) for name in ("mean_flow", "occluded")
        )
        if occluded is not None:
            told = f"{occluded:.0%} occluded, {told}"
        if flow is not None:
            told = f"mean flow {flow:.3g} pixels, {told}"
        frames = " and ".join(map(str, self.pictures)) or "Motorcycle"
        console.print(f"{frames}: {told}; in {run.folder}")
        console.result(
            {
                "output": run.folder,
                "mean_flow": flow,
                "occluded": occluded,
                "median_depth": depth,
                "frames": found,
            }
        )


def _size(frames: Frames) -> list[int]:
    """Height and width."""
    return list(next(iter(frames)).shape[1:])


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None

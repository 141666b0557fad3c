"""What was found in a sequence, drawn in one scale; what is there already is not drawn again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from promotion._motion import Motion
from promotion._views import fitted
from promotion.cli._animation import LONGEST_SIDE, animate, sparse
from promotion.cli._frames import Frames
from promotion.cli._infer_pictures import LABELS, Scale, pictures_of
from promotion.cli._motion_files import VIDEO_SIDE, MotionFiles
from promotion.io import VideoWriter
from promotion.viz import flow_picture, grid, save_picture
from promotion.viz._pillow import to_bytes
from tokenseek_common.cli import Progress

LAST = "overview"
"""The picture that is drawn when the others of a frame are there."""


def draw_pictures(
    frames: Frames, files: MotionFiles, results: int, scale: Scale, progress: Progress
) -> None:
    """Draw each frame into pictures/, and the flow of a sequence as a GIF of some of its frames."""
    folder = files.folder / "pictures"
    missing = {
        name for name in frames.names[:results] if not (folder / f"{name}_{LAST}.png").exists()
    }
    if missing:
        for name, pair in zip(frames.names[:results], _pairs(frames), strict=False):
            if name in missing:
                _draw(folder, name, pair, files.read(name), scale)
            progress.advance()
    animation = files.folder / "flow.gif"
    if results > 1 and not animation.exists():
        names = frames.names[: len(frames) - 1]
        small = (files.small_flow(name, LONGEST_SIDE) for name in sparse(names))
        animate(animation, [flow_picture(flow, max_norm=scale.flow) for flow in small])


def draw_video(
    frames: Frames, files: MotionFiles, scale: Scale, *, fps: float, progress: Progress
) -> None:
    """Draw the flow of each frame beside it, as flow.mp4."""
    path = files.folder / "flow.mp4"
    if path.exists():
        return
    with VideoWriter(path, fps=fps) as writer:
        for name, image in zip(frames.names[:-1], frames, strict=False):
            flow = files.small_flow(name, VIDEO_SIDE)
            shown = [
                to_bytes(fitted(image, *flow.shape[1:]).clamp(0, 1)),
                flow_picture(flow, max_norm=scale.flow),
            ]
            writer.add(grid(shown, [name, LABELS["flow"]], columns=2))
            progress.advance()


def _draw(
    folder: Path,
    name: str,
    pair: tuple[Tensor, Tensor | None],
    motion: Motion,
    scale: Scale,
) -> None:
    second = pair[1] if motion.flow is not None else None
    for kind, picture in pictures_of(motion, pair[0], second, scale=scale).items():
        save_picture(folder / f"{name}_{kind}.png", picture)


def _pairs(
    frames: Frames,
) -> Iterator[tuple[Float[Tensor, "3 h w"], Float[Tensor, "3 h w"] | None]]:
    """Each frame with the next; the last with None."""
    images = iter(frames)
    image = next(images)
    for following in images:
        yield image, following
        image = following
    yield image, None

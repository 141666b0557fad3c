"""The commands of `promotion`, which are imported when they are run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from tokenseek_common.cli import CommandPlace, Commands, run

COMMANDS: Commands = {
    "infer": CommandPlace(
        "Find flow and depth in pictures, and draw them.",
        "promotion.cli._infer",
        "Infer",
    ),
    "eval": CommandPlace(
        "Measure flow and depth where the truth is known.",
        "promotion.cli._eval",
        "Eval",
    ),
    "viz": CommandPlace(
        "Draw flow and depth files, each with the meaning of its colours.",
        "promotion.cli._viz",
        "Viz",
    ),
    "convert": CommandPlace(
        "Write flow and depth files in another format, and tell what that loses.",
        "promotion.cli._convert",
        "Convert",
    ),
    "track": CommandPlace(
        "Follow points through a folder of frames or a video.",
        "promotion.cli._track",
        "Track",
    ),
    "interpolate": CommandPlace(
        "Make frames between two frames, or between all of a folder or a video.",
        "promotion.cli._interpolate",
        "Interpolate",
    ),
    "stabilize": CommandPlace(
        "Show a folder of frames or a video as a steady camera would have taken them.",
        "promotion.cli._stabilize",
        "Stabilize",
    ),
    "cloud": CommandPlace(
        "Write what a picture shows as a cloud of coloured points in space.",
        "promotion.cli._cloud",
        "Cloud",
    ),
    "synth": CommandPlace(
        "Write procedural scenes with exact flow, depth and occlusion.",
        "promotion.cli._synth",
        "Synth",
    ),
    "export": CommandPlace(
        "Export a model as one file that runs without this package, and try it.",
        "promotion.cli._export",
        "Export",
    ),
    "train": CommandPlace(
        "Train a model as a YAML file says.",
        "promotion.cli._train",
        "Train",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit code of the process."""
    return run(
        COMMANDS,
        prog="promotion",
        description="Optical flow and depth through prototypes.",
        version=version("promotion-flow"),
        argv=argv,
    )

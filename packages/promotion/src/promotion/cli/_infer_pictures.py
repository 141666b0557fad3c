"""What was found in one or two pictures, to look at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from promotion._motion import Motion
from promotion.viz import depth_picture, flow_picture, grid, prototype_overlay, warp_overlay
from promotion.viz._colours import OUT_OF_FRAME, coloured, painted, palette
from promotion.viz._legend import bar_legend, beside
from promotion.viz._pillow import to_bytes

LABELS = {
    "image1": "first frame",
    "image2": "second frame",
    "flow": "flow",
    "warp": "second frame brought back, over the first",
    "confidence": "confidence",
    "occlusion": "not seen in the second frame: magenta",
    "depth": "depth",
    "prototypes": "prototypes",
}
"""What stands above each part of the overview, in its order."""

COLOURS = "viridis"  # from dark blue, uncertain, to yellow
TICKS = 6


@dataclass(frozen=True)
class Scale:
    """What colours mean, alike in all pictures of a run.

    Args:
        flow: Motion with full colours, in pixels.
        near: Depth with the brightest colour.
        far: Depth with the darkest.
    """

    flow: float
    near: float
    far: float


def pictures_of(
    motion: Motion,
    image1: Float[Tensor, "3 h w"],
    image2: Float[Tensor, "3 h w"] | None,
    *,
    scale: Scale,
) -> dict[str, UInt8[Tensor, "3 _ _"]]:
    """Draw what was found.

    Args:
        motion: What was found.
        image1: First frame, in [0, 1].
        image2: Second frame, where there is one.
        scale: Of the colours.

    Returns:
        The pictures by their names; what was not found is left out. The last is an overview.
    """
    depth = motion.depth.clamp(scale.near, scale.far)  # as rounded, it may lie beside
    drawn = {"depth": depth_picture(depth, near=scale.near, far=scale.far, unit="")}
    if motion.assignments is not None:
        drawn["prototypes"] = prototype_overlay(motion.assignments, image1)
    frames = {"image1": to_bytes(image1)}
    if image2 is not None:
        frames["image2"] = to_bytes(image2)
        assert motion.flow is not None  # since there are two frames
        drawn["flow"] = flow_picture(motion.flow, max_norm=scale.flow)
        drawn["warp"] = warp_overlay(image1, image2, motion.flow)
    if image2 is not None and motion.confidence is not None:
        assert motion.occlusion is not None  # as confidence
        drawn["confidence"] = confidence_picture(motion.confidence)
        drawn["occlusion"] = painted(to_bytes(image1), motion.occlusion, OUT_OF_FRAME)
    return {**drawn, "overview": overview({**frames, **drawn})}


def overview(pictures: dict[str, UInt8[Tensor, "3 _ _"]]) -> UInt8[Tensor, "3 h w"]:
    """All pictures on one sheet, two beside each other."""
    shown = [name for name in LABELS if name in pictures]
    return grid([pictures[name] for name in shown], [LABELS[name] for name in shown], columns=2)


def confidence_picture(confidence: Float[Tensor, "h w"]) -> UInt8[Tensor, "3 hh ww"]:
    """Colour confidence from 0 to 1, with its colour bar."""
    known = torch.ones_like(confidence, dtype=torch.bool)
    texts = [f"{tick / (TICKS - 1):.1f}" for tick in range(TICKS)]
    legend = bar_legend(palette(COLOURS), texts, height=confidence.shape[0], unknown=False)
    return beside(coloured(confidence, COLOURS, known), legend)

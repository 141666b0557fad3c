"""What motion is good for: tracks of points, frames in between, a steady camera."""

from promotion.video._interpolation import interpolate, interpolate_frames
from promotion.video._stabilization import camera_path, stabilize, steadying
from promotion.video._tracks import Tracks, track

__all__ = [
    "Tracks",
    "camera_path",
    "interpolate",
    "interpolate_frames",
    "stabilize",
    "steadying",
    "track",
]

"""Pictures of flow, depth, errors and prototypes, each a uint8 tensor `[3, h, w]`.

What ends in ``_to_image`` or ``_overlay`` is as large as the map or the frame and carries no text;
what ends in ``_picture`` has its legend beside it. What is not known is grey everywhere.
"""

from promotion.viz._depth import depth_picture, depth_to_image
from promotion.viz._error import error_picture, error_to_image
from promotion.viz._files import save_animation, save_picture
from promotion.viz._flow import flow_legend, flow_picture, flow_to_image
from promotion.viz._grid import grid
from promotion.viz._prototypes import prototype_overlay
from promotion.viz._tracks import track_overlay
from promotion.viz._warp import warp_overlay

__all__ = [
    "depth_picture",
    "depth_to_image",
    "error_picture",
    "error_to_image",
    "flow_legend",
    "flow_picture",
    "flow_to_image",
    "grid",
    "prototype_overlay",
    "save_animation",
    "save_picture",
    "track_overlay",
    "warp_overlay",
]

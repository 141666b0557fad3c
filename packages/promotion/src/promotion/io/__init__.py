"""Flow, depth and images: read from files and written to them, strictly."""

from promotion.io._depth import read_depth, write_depth
from promotion.io._errors import FileFormatError
from promotion.io._flow import read_flow, write_flow
from promotion.io._image import read_image, write_image
from promotion.io._maps import DepthMap, FlowMap
from promotion.io._video import VideoFile, VideoWriter

__all__ = [
    "DepthMap",
    "FileFormatError",
    "FlowMap",
    "VideoFile",
    "VideoWriter",
    "read_depth",
    "read_flow",
    "read_image",
    "write_depth",
    "write_flow",
    "write_image",
]

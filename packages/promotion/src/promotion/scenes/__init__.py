"""Procedural scenes with exact flow, depth and occlusion: the source that training draws from."""

from promotion.scenes._config import SceneConfig
from promotion.scenes._dataset import SceneDataset
from promotion.scenes._photos import installed_photos
from promotion.scenes._scene import Scene, render_scene
from promotion.scenes._sequence import SceneSequence, render_sequence

__all__ = [
    "Scene",
    "SceneConfig",
    "SceneDataset",
    "SceneSequence",
    "installed_photos",
    "render_scene",
    "render_sequence",
]

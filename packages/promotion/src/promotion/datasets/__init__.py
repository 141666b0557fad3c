"""Two frames and their truth: samples, the folders they come from, and how they are varied."""

from promotion.datasets._augment import Augmentor
from promotion.datasets._augment_config import AugmentConfig
from promotion.datasets._depth_folders import kitti_depth, rgbd
from promotion.datasets._files import SampleFiles
from promotion.datasets._flow_folders import flying_chairs, kitti_2015, sintel, stereo
from promotion.datasets._folder import FolderDataset
from promotion.datasets._motorcycle import motorcycle
from promotion.datasets._open import open_folder
from promotion.datasets._resize import resize
from promotion.datasets._sample import Sample

__all__ = [
    "AugmentConfig",
    "Augmentor",
    "FolderDataset",
    "Sample",
    "SampleFiles",
    "flying_chairs",
    "kitti_2015",
    "kitti_depth",
    "motorcycle",
    "open_folder",
    "resize",
    "rgbd",
    "sintel",
    "stereo",
]

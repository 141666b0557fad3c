"""Two frames and their truth: samples, the folders they come from, and how they are varied."""

from promotion.datasets._augment import Augmentor
from promotion.datasets._augment_config import AugmentConfig
from promotion.datasets._depth_folders import kitti_depth, rgbd
from promotion.datasets._files import SampleFiles
from promotion.datasets._flow_folders import (
    flying_chairs,
    kitti_2012,
    kitti_2015,
    middlebury_flow,
    stereo,
)
from promotion.datasets._folder import FolderDataset
from promotion.datasets._motorcycle import motorcycle
from promotion.datasets._open import open_folder
from promotion.datasets._resize import resize
from promotion.datasets._sample import Sample
from promotion.datasets._sequences import flying_things, hd1k, sintel, spring, virtual_kitti

__all__ = [
    "AugmentConfig",
    "Augmentor",
    "FolderDataset",
    "Sample",
    "SampleFiles",
    "flying_chairs",
    "flying_things",
    "hd1k",
    "kitti_2012",
    "kitti_2015",
    "kitti_depth",
    "middlebury_flow",
    "motorcycle",
    "open_folder",
    "resize",
    "rgbd",
    "sintel",
    "spring",
    "stereo",
    "virtual_kitti",
]
